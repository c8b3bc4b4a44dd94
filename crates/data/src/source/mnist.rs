//! MNIST and its relatives (Fashion-MNIST, KMNIST, EMNIST …): IDX files, plain or gzipped.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::{Contents, Images, Labels, LeftOut, OwnSplit, Packed};
use crate::error::DataError;
use crate::regular;
use crate::words::listed;

/// Largest size of an unpacked IDX file in bytes: 2 GiB.
const MAX_BYTES: usize = 2 << 30;

/// The common prefixes of a set's file names, up to `images` and `labels`.
struct Names {
    train: String,
    test: String,
    /// Whether images are stored transposed.
    transposed: bool,
    /// File that may list the characters of the labels.
    mapping: Option<PathBuf>,
}

impl Names {
    /// The sets in a folder, by name: EMNIST's sets may share a folder.
    fn in_folder(root: &Path) -> Vec<(String, Self)> {
        let mut sets = Vec::new();
        let usual = Self { train: "train".to_owned(), test: "t10k".to_owned(), transposed: false, mapping: None };
        if find(root, &usual.train, "images").is_some() {
            sets.push(("MNIST".to_owned(), usual));
        }
        let files = std::fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
        let names: BTreeSet<String> = files
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let set = name.strip_prefix("emnist-")?.split_once("-train-images")?.0;
                Some(set.to_owned())
            })
            .collect();
        for set in names {
            let [train, test] = ["train", "test"].map(|part| format!("emnist-{set}-{part}"));
            if find(root, &train, "images").is_some() {
                let mapping = Some(root.join(format!("emnist-{set}-mapping.txt")));
                sets.push((format!("EMNIST {set}"), Self { train, test, transposed: true, mapping }));
            }
        }
        sets
    }
}

/// The file of `part`-`kind` under any of its names.
fn find(root: &Path, part: &str, kind: &str) -> Option<PathBuf> {
    let dimensions = if kind == "images" { 3 } else { 1 };
    ["-", "."]
        .iter()
        .flat_map(|dot| ["", ".gz"].map(|end| root.join(format!("{part}-{kind}{dot}idx{dimensions}-ubyte{end}"))))
        .find(|path| path.is_file())
}

/// Whether this directory holds MNIST files.
pub(super) fn is_here(root: &Path) -> bool {
    !Names::in_folder(root).is_empty()
}

pub(super) fn read(root: &Path) -> Result<Contents, DataError> {
    let mut sets = Names::in_folder(root);
    if sets.len() > 1 {
        let names: Vec<&String> = sets.iter().map(|(name, _)| name).collect();
        let message =
            format!("holds {} sets ({}): put the files of each into a folder of its own", sets.len(), listed(&names));
        return Err(DataError::at(root, message));
    }
    let Some((_, names)) = sets.pop() else { return Err(DataError::at(root, "holds no MNIST files")) };
    let mut all = Part::read(root, &names.train)?;
    let most = all.labels.iter().copied().max().unwrap_or(0);
    let train = all.labels.len();
    let mut files = vec![(all.name.clone(), train)];
    let mut split = None;
    if find(root, &names.test, "images").is_some() {
        let test = Part::read(root, &names.test)?;
        if test.size != all.size {
            let message = format!("images of {:?} pixels, but {} has {:?}", test.size, all.name, all.size);
            return Err(DataError::new(root.join(&test.name).display().to_string(), message));
        }
        if let Some(i) = test.labels.iter().position(|label| *label > most) {
            let message = format!("image {i} has label {}, but the training labels end at {most}", test.labels[i]);
            return Err(DataError::new(root.join(&test.name).display().to_string(), message));
        }
        split = Some(OwnSplit { train, val: 0, test: test.labels.len() });
        files.push((test.name, test.labels.len()));
        all.pixels.extend(test.pixels);
        all.labels.extend(test.labels);
    }
    // EMNIST's letters are one-based.
    let first = usize::from(all.labels.iter().all(|label| *label > 0));
    all.labels.iter_mut().for_each(|label| *label -= first);
    let mut left_out = LeftOut::default();
    let [mut height, mut width] = all.size;
    if names.transposed {
        all.pixels.chunks_exact_mut(height * width).for_each(|image| transpose(image, width));
        (height, width) = (width, height);
        left_out.note("EMNIST stores its images transposed: they are turned upright".to_owned());
    }
    let images = Images::Packed(Packed { channels: 1, height, width, pixels: all.pixels, files });
    let mapped = names.mapping.map(|path| characters(&path, first, most)).transpose()?.flatten();
    let names = mapped.unwrap_or_else(|| (first..=most).map(|class| class.to_string()).collect());
    Ok(Contents { images, labels: Labels::Classes { names, of: all.labels }, split, left_out })
}

/// Transposes an image with rows of `width` pixels.
fn transpose(image: &mut [u8], width: usize) {
    let height = image.len() / width;
    let turned: Vec<u8> = (0..image.len()).map(|i| image[i % height * width + i / height]).collect();
    image.copy_from_slice(&turned);
}

/// The characters of the labels `first` to `most`. Each line of the file has a label and the code of a character, or of
/// two that count as the same; `None` if there is no such file.
fn characters(path: &Path, first: usize, most: usize) -> Result<Option<Vec<String>>, DataError> {
    if !path.exists() {
        return Ok(None);
    }
    let mut text = String::new();
    let read = regular::open(path)?.take(1 << 16).read_to_string(&mut text);
    read.map_err(|e| DataError::at(path, format!("cannot be read: {e}")))?;
    let wrong = |line: &str| {
        let message = format!("`{}`, expected a label and the code of a character", crate::words::shown(line, 40));
        DataError::at(path, message)
    };
    let mut names = vec![None; most + 1];
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let numbers: Option<Vec<u32>> = line.split_whitespace().map(|word| word.parse().ok()).collect();
        let Some([label, codes @ ..]) = numbers.as_deref() else { return Err(wrong(line)) };
        let shown: Option<String> =
            codes.iter().map(|code| char::from_u32(*code).filter(|c| !c.is_control())).collect();
        let shown = shown.filter(|shown| !shown.is_empty()).ok_or_else(|| wrong(line))?;
        // The file may list more labels than there are.
        if let Some(name) = names.get_mut(*label as usize) {
            *name = Some(shown);
        }
    }
    let names: Option<Vec<String>> = names.into_iter().skip(first).collect();
    let names =
        names.ok_or_else(|| DataError::at(path, format!("expected a line for every label from {first} to {most}")))?;
    if names.iter().collect::<BTreeSet<_>>().len() < names.len() {
        return Err(DataError::at(path, "a character stands there twice"));
    }
    Ok(Some(names))
}

/// Images and labels of one part.
struct Part {
    /// Name of the image file.
    name: String,
    size: [usize; 2],
    pixels: Vec<u8>,
    labels: Vec<usize>,
}

impl Part {
    fn read(root: &Path, part: &str) -> Result<Self, DataError> {
        let path = |kind: &str| {
            let missing = || DataError::at(root, format!("holds MNIST files, but no `{part}-{kind}` file"));
            find(root, part, kind).ok_or_else(missing)
        };
        let (images, labels) = (path("images")?, path("labels")?);
        let ([count, height, width], pixels) = read_idx::<3>(&images)?;
        let ([label_count], label_bytes) = read_idx::<1>(&labels)?;
        if count != label_count {
            return Err(DataError::at(&labels, format!("{label_count} labels, but the image file has {count} images")));
        }
        if count == 0 || height == 0 || width == 0 {
            return Err(DataError::at(&images, format!("no images: {count} of {height}x{width} pixels")));
        }
        let name = images.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, size: [height, width], pixels, labels: label_bytes.into_iter().map(usize::from).collect() })
    }
}

/// Reads an IDX file of unsigned bytes with `N` dimensions: a magic number, the sizes, the bytes. Gzip is detected from
/// the content.
fn read_idx<const N: usize>(path: &Path) -> Result<([usize; N], Vec<u8>), DataError> {
    let mut file = BufReader::new(regular::open(path)?);
    let start = file.fill_buf().map_err(|e| DataError::at(path, format!("cannot be read: {e}")))?;
    if start.starts_with(&[0x1f, 0x8b]) { parse_idx(path, MultiGzDecoder::new(file)) } else { parse_idx(path, file) }
}

fn parse_idx<const N: usize>(path: &Path, mut reader: impl Read) -> Result<([usize; N], Vec<u8>), DataError> {
    let wrong = |message: String| DataError::at(path, message);
    let mut word = || {
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).map_err(|e| wrong(format!("cut off in the IDX header: {e}")))?;
        Ok::<u32, DataError>(u32::from_be_bytes(bytes))
    };
    let (magic, expected) = (word()?, 0x0800 + N as u32);
    if magic != expected {
        return Err(wrong(format!(
            "begins with {magic:#010x}, expected {expected:#010x} (IDX, bytes, {N} dimensions)"
        )));
    }
    let mut sizes = [0; N];
    for size in &mut sizes {
        *size = word()? as usize;
    }
    let total = sizes.iter().try_fold(1usize, |total, size| total.checked_mul(*size));
    let Some(total) = total.filter(|total| *total <= MAX_BYTES) else {
        return Err(wrong(format!("claims {sizes:?} bytes, but the limit is {} MiB", MAX_BYTES >> 20)));
    };
    // `read_to_end` grows with the actual data, so a false header allocates no memory.
    let mut bytes = Vec::new();
    reader.take(total as u64 + 1).read_to_end(&mut bytes).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    if bytes.len() != total {
        let found = if bytes.len() > total { format!("more than {total}") } else { bytes.len().to_string() };
        return Err(wrong(format!("{found} bytes after the header, expected {total} for sizes {sizes:?}")));
    }
    Ok((sizes, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dataset, OpenOptions, Split};
    use flate2::{Compression, read::GzDecoder, write::GzEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    fn idx(sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0, 0, 8, sizes.len() as u8];
        sizes.iter().for_each(|size| out.extend(size.to_be_bytes()));
        out.extend(bytes);
        out
    }

    fn images(count: u32) -> Vec<u8> {
        idx(&[count, 2, 3], &(0..count as u8 * 6).collect::<Vec<u8>>())
    }

    fn labels(count: u32) -> Vec<u8> {
        idx(&[count], &(0..count as u8).map(|i| i % 3).collect::<Vec<u8>>())
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn open(files: &[(&str, Vec<u8>)]) -> Result<Dataset, DataError> {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        Dataset::open(dir.path().to_str().unwrap(), &OpenOptions::default())
    }

    #[test]
    fn plain_dotted_and_gzipped_files() {
        let data = open(&[
            ("train-images-idx3-ubyte", images(6)),
            ("train-labels.idx1-ubyte", labels(6)),
            ("t10k-images.idx3-ubyte.gz", gz(&images(3))),
            ("t10k-labels-idx1-ubyte.gz", gz(&labels(3))),
        ])
        .unwrap();
        assert_eq!([Split::Train, Split::Val].map(|s| data.len(s)), [6, 3]);
        assert_eq!((data.native_size(), data.native_channels(), data.has_own_split()), (Some([2, 3]), Some(1), true));
        assert_eq!(data.classes(), ["0", "1", "2"]);
        assert_eq!(data.item(Split::Val, 2), (2, "t10k-images.idx3-ubyte.gz[2]".to_owned()));
        assert_eq!(
            data.load(Split::Train, 1, &crate::DecodeOptions::default()).unwrap(),
            crate::Image::new(3, 2, 1, (6..12).collect())
        );
    }

    #[test]
    fn without_test_files_a_split_is_drawn() {
        let data = open(&[("train-images-idx3-ubyte", images(9)), ("train-labels-idx1-ubyte", labels(9))]).unwrap();
        assert_eq!((data.len(Split::All), data.has_own_split()), (9, false));
        assert!((3..=6).contains(&data.len(Split::Val)), "every class of three gives one or two");
    }

    #[test]
    fn every_wrong_file_is_told() {
        let train = |images: Vec<u8>, labels: Vec<u8>| {
            vec![("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)]
        };
        let mut two = train(images(3), labels(3));
        two.extend([("t10k-images-idx3-ubyte", images(4)), ("t10k-labels-idx1-ubyte", idx(&[4], &[0, 1, 2, 3]))]);
        let mut other_size = train(images(3), labels(3));
        other_size.extend([("t10k-images-idx3-ubyte", idx(&[1, 1, 1], &[0])), ("t10k-labels-idx1-ubyte", labels(1))]);
        let cases = [
            (vec![("train-images-idx3-ubyte", images(3))], "holds MNIST files, but no `train-labels` file"),
            (train(labels(3), labels(3)), "begins with 0x00000801, expected 0x00000803 (IDX, bytes, 3 dimensions)"),
            (train(vec![0, 0, 8], labels(3)), "cut off in the IDX header"),
            (train(images(3)[..20].to_vec(), labels(3)), "4 bytes after the header, expected 18 for sizes [3, 2, 3]"),
            (train([images(3), vec![0]].concat(), labels(3)), "more than 18 bytes after the header, expected 18"),
            (
                train(idx(&[u32::MAX; 3], &[]), labels(3)),
                "claims [4294967295, 4294967295, 4294967295] bytes, but the limit",
            ),
            (train(idx(&[70_000, 28, 28], &[1; 9]), labels(3)), "9 bytes after the header, expected 54880000"),
            (train(images(3), labels(4)), "4 labels, but the image file has 3 images"),
            (train(images(0), labels(0)), "no images: 0 of 2x3 pixels"),
            (two, "image 3 has label 3, but the training labels end at 2"),
            (other_size, "images of [1, 1] pixels, but train-images-idx3-ubyte has [2, 3]"),
        ];
        for (files, expected) in cases {
            let error = open(&files).unwrap_err();
            assert!(error.message.starts_with(expected), "`{error}`, expected `{expected}`");
        }
    }

    #[test]
    fn gzip_is_told_by_content_and_not_by_name() {
        let both = gz(&labels(3)[..8]).into_iter().chain(gz(&labels(3)[8..])).collect();
        let data = open(&[("train-images-idx3-ubyte", gz(&images(3))), ("train-labels-idx1-ubyte.gz", labels(3))]);
        assert_eq!(data.unwrap().len(Split::All), 3);
        let data = open(&[("train-images-idx3-ubyte.gz", images(3)), ("train-labels-idx1-ubyte.gz", both)]);
        assert_eq!(data.unwrap().len(Split::All), 3, "of several members");
    }

    #[test]
    fn emnist_is_turned_upright_and_its_letters_are_numbered_from_one() {
        let letters = |count: u32| idx(&[count], &(0..count as u8).map(|i| 1 + i % 3).collect::<Vec<u8>>());
        let mut files = vec![
            ("emnist-letters-train-images-idx3-ubyte.gz", gz(&images(6))),
            ("emnist-letters-train-labels-idx1-ubyte.gz", gz(&letters(6))),
            ("emnist-letters-test-images-idx3-ubyte.gz", gz(&images(3))),
            ("emnist-letters-test-labels-idx1-ubyte.gz", gz(&letters(3))),
        ];
        let data = open(&files).unwrap();
        assert_eq!([Split::Train, Split::Val, Split::Test].map(|s| data.len(s)), [6, 3, 3]);
        assert_eq!((data.classes(), data.label(Split::Train, 5)), (&["1", "2", "3"].map(str::to_owned)[..], 2));
        // Stored as two rows of three: 6 7 8, 9 10 11.
        let image = data.load(Split::Train, 1, &crate::DecodeOptions::default()).unwrap();
        assert_eq!(image, crate::Image::new(2, 3, 1, vec![6, 9, 7, 10, 8, 11]));
        assert_eq!(data.native_size(), Some([3, 2]));
        let note = "EMNIST stores its images transposed: they are turned upright";
        assert_eq!(data.left_out_note().unwrap(), note);
        files.push(("emnist-letters-mapping.txt", b"1 65 97\n2 66 98\n3 67 99\n".to_vec()));
        assert_eq!(open(&files).unwrap().classes(), ["Aa", "Bb", "Cc"]);
        files.last_mut().unwrap().1 = b"1 65 97\n2 66 98\n".to_vec();
        assert!(open(&files).unwrap_err().message.starts_with("expected a line for every label from 1 to 3"));
        files.last_mut().unwrap().1 = b"one 65\n".to_vec();
        assert!(open(&files).unwrap_err().message.starts_with("`one 65`, expected a label and the code"));
        files.pop();
        files.push(("emnist-digits-train-images-idx3-ubyte.gz", gz(&images(6))));
        let error = open(&files).unwrap_err();
        assert!(
            error.message.starts_with("holds 2 sets (EMNIST digits, EMNIST letters): put the files of each"),
            "{error}"
        );
    }

    #[test]
    fn a_class_without_training_images_is_told() {
        let labels = |values: &[u8]| idx(&[values.len() as u32], values);
        let data = open(&[("train-images-idx3-ubyte", images(4)), ("train-labels-idx1-ubyte", labels(&[0, 3, 3, 0]))]);
        let data = data.unwrap();
        assert_eq!((data.classes().len(), (0..4).map(|i| data.label(Split::All, i)).sum::<usize>()), (4, 6));
        assert_eq!(data.left_out_note().unwrap(), "no training images of 2 of 4 classes: 1, 2");
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..60), head in 0usize..8) {
            let mut file = images(2)[..head * 2].to_vec();
            file.extend(bytes);
            let _ = parse_idx::<3>(Path::new("x"), &file[..]);
            let _ = parse_idx::<1>(Path::new("x"), GzDecoder::new(&file[..]));
        }
    }
}
