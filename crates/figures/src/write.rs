//! Writes a set of pictures in COCO's layout, on several threads.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::Builder;

use dyconv_data::Split;
use serde::Serialize;

use crate::annotations::{Annotation, Annotations, Category, ImageEntry, Info};
use crate::error::FigureError;
use crate::picture::LabelledFigure;
use crate::scene::figure_picture;

/// Largest number of pictures: file names have 12 digits.
const MOST: u64 = 999_999_999_999;

/// The pictures to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FigureOptions {
    /// Pictures for training.
    pub train: u64,
    /// Pictures for validation.
    pub val: u64,
    /// The same seed gives the same pictures; a larger set begins with those of a smaller one.
    pub seed: u64,
    /// Number of threads; 0 counts as 1.
    pub threads: usize,
    /// Write into a folder that is not empty, and replace files of the same names.
    pub overwrite: bool,
}

/// The pictures that were made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FigureSummary {
    /// The training pictures; `None` if none were requested.
    pub train: Option<FigurePart>,
    /// The validation pictures; `None` if none were requested.
    pub val: Option<FigurePart>,
    /// A message that the system refused threads, with the number that worked.
    #[serde(skip)]
    pub note: Option<String>,
}

/// The pictures of one split.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct FigurePart {
    /// Folder of the pictures.
    pub images_dir: PathBuf,
    /// COCO's JSON.
    pub annotations: PathBuf,
    /// Number of pictures.
    pub images: u64,
    /// Number of annotated persons.
    pub persons: u64,
    /// Number of persons with at least one labelled joint.
    pub labelled_persons: u64,
    /// Number of visible joints (v = 2).
    pub joints_seen: u64,
    /// Number of hidden joints (v = 1).
    pub joints_hidden: u64,
    /// Size of the pictures in bytes.
    pub bytes: u64,
}

/// Writes pictures of figures to `out` as `train2017/000000000001.jpg` …, `val2017/…`, and the labels as
/// `annotations/person_keypoints_train2017.json` and `…_val2017.json`, each after its pictures are complete.
///
/// `progress` is called with the number of pictures done, of both splits together.
///
/// # Errors
/// If no pictures are requested, the folder is not empty and may not be overwritten, or something cannot be written.
pub fn make_figures(
    out: &Path,
    options: &FigureOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<FigureSummary, FigureError> {
    if options.train.max(options.val) > MOST || options.train.max(options.val) == 0 {
        return Err(FigureError::Count { train: options.train, val: options.val, most: MOST });
    }
    if !options.overwrite && fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(FigureError::NotEmpty(out.to_owned()));
    }
    let mut note = None;
    let mut make = |split, count, before| {
        let mut report = |done| progress(before + done);
        (count > 0).then(|| make_part(out, options, split, count, &mut report, &mut note)).transpose()
    };
    let train = make(Split::Train, options.train, 0)?;
    let val = make(Split::Val, options.val, options.train)?;
    Ok(FigureSummary { train, val, note })
}

/// A picture that was written to disk.
struct Made {
    index: u64,
    size: [usize; 2],
    bytes: u64,
    persons: Vec<LabelledFigure>,
}

fn make_part(
    out: &Path,
    options: &FigureOptions,
    split: Split,
    count: u64,
    progress: &mut dyn FnMut(u64),
    note: &mut Option<String>,
) -> Result<FigurePart, FigureError> {
    let name = format!("{split}2017");
    let images_dir = out.join(&name);
    let annotations = out.join("annotations");
    for dir in [&images_dir, &annotations] {
        fs::create_dir_all(dir).map_err(|e| FigureError::io(dir, "made", e))?;
    }
    let annotations = annotations.join(format!("person_keypoints_{name}.json"));
    let mut part = FigurePart { images_dir, annotations, images: count, ..FigurePart::default() };
    let mut made = make_pictures(&part.images_dir, options, split, count, progress, note)?;
    made.sort_by_key(|picture| picture.index);

    let mut truth = Annotations {
        info: Info { description: "Figures made by dyconv", version: env!("CARGO_PKG_VERSION"), seed: options.seed },
        licenses: [],
        categories: [Category::person()],
        images: Vec::with_capacity(made.len()),
        annotations: Vec::new(),
    };
    for picture in &made {
        let id = picture.index + 1;
        let [width, height] = picture.size;
        truth.images.push(ImageEntry { id, file_name: file_name(picture.index), width, height });
        for (number, person) in picture.persons.iter().enumerate() {
            truth.annotations.push(Annotation::new(id, number, person));
            let count = |v: u8| person.joints.iter().filter(|joint| joint.1 == v).count() as u64;
            part.joints_seen += count(2);
            part.joints_hidden += count(1);
            part.labelled_persons += u64::from(count(1) + count(2) > 0);
        }
        part.bytes += picture.bytes;
    }
    part.persons = truth.annotations.len() as u64;
    write_json(&part.annotations, &truth)?;
    Ok(part)
}

fn file_name(index: u64) -> String {
    format!("{:012}.jpg", index + 1)
}

/// Draws and writes pictures on all threads that can be started, at least on this one; in no particular order.
fn make_pictures(
    dir: &Path,
    options: &FigureOptions,
    split: Split,
    count: u64,
    progress: &mut dyn FnMut(u64),
    note: &mut Option<String>,
) -> Result<Vec<Made>, FigureError> {
    let next = AtomicU64::new(0);
    let (sender, receiver) = mpsc::channel();
    let wanted = count.min(options.threads.max(1) as u64);
    std::thread::scope(|scope| {
        let mut started = 0;
        while started < wanted {
            let (next, sender) = (&next, sender.clone());
            let work = move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    // The receiver is dropped after a failure.
                    if index >= count || sender.send(make_picture(dir, options.seed, split, index)).is_err() {
                        return;
                    }
                }
            };
            if let Err(e) = Builder::new().name("figures".to_owned()).spawn_scoped(scope, work) {
                *note = Some(format!("{started} of {wanted} threads could be started: {e}"));
                break;
            }
            started += 1;
        }
        drop(sender);
        let mut made = Vec::new();
        let mut take = |picture: Result<Made, FigureError>| {
            made.push(picture?);
            progress(made.len() as u64);
            Ok::<(), FigureError>(())
        };
        if started == 0 {
            (0..count).try_for_each(|index| take(make_picture(dir, options.seed, split, index)))?;
        }
        receiver.into_iter().try_for_each(take)?;
        Ok(made)
    })
}

fn make_picture(dir: &Path, seed: u64, split: Split, index: u64) -> Result<Made, FigureError> {
    let picture = figure_picture(seed, split, index);
    let path = dir.join(file_name(index));
    picture.image.save(&path)?;
    let bytes = fs::metadata(&path).map_err(|e| FigureError::io(&path, "read", e))?.len();
    Ok(Made { index, size: [picture.image.width, picture.image.height], bytes, persons: picture.persons })
}

/// Writes to a temporary file and renames it, so that a file of that name is complete.
fn write_json(path: &Path, value: &impl Serialize) -> Result<(), FigureError> {
    let temporary = path.with_extension("json.part");
    let written = fs::File::create(&temporary).and_then(|file| {
        let mut file = BufWriter::new(file);
        serde_json::to_writer(&mut file, value)?;
        file.flush()?;
        file.get_ref().sync_all()
    });
    let written = written.and_then(|()| fs::rename(&temporary, path));
    written.map_err(|e| {
        // The leftover of a failed attempt is useless; the first error is the one to report.
        let _ = fs::remove_file(&temporary);
        FigureError::io(path, "written", e)
    })
}
