//! MNIST and its relatives (Fashion-MNIST, KMNIST …): IDX files, plain or gzipped.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;

use super::{Contents, Images, Labels, Packed};
use crate::error::DataError;

/// Most bytes that one IDX file may hold unpacked: 2 GiB.
const MAX_BYTES: usize = 2 << 30;

/// Which half of the data, as the files are named.
const TRAIN: &str = "train";
const TEST: &str = "t10k";

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
    find(root, TRAIN, "images").is_some()
}

pub(super) fn read(root: &Path) -> Result<Contents, DataError> {
    let mut all = Part::read(root, TRAIN)?;
    let classes = all.labels.iter().max().map_or(0, |label| label + 1);
    let train = all.labels.len();
    let mut files = vec![(all.name.clone(), train)];
    let mut own_split = None;
    if find(root, TEST, "images").is_some() {
        let test = Part::read(root, TEST)?;
        if test.size != all.size {
            let message = format!("images of {:?} pixels, but {} has {:?}", test.size, all.name, all.size);
            return Err(DataError::new(root.join(&test.name).display().to_string(), message));
        }
        if let Some(i) = test.labels.iter().position(|label| *label >= classes) {
            let message =
                format!("image {i} has label {}, but the training labels end at {}", test.labels[i], classes - 1);
            return Err(DataError::new(root.join(&test.name).display().to_string(), message));
        }
        files.push((test.name, test.labels.len()));
        all.pixels.extend(test.pixels);
        all.labels.extend(test.labels);
        own_split = Some(train);
    }
    let [height, width] = all.size;
    let images = Images::Packed(Packed { channels: 1, height, width, pixels: all.pixels, files });
    let names = (0..classes).map(|c| c.to_string()).collect();
    Ok(Contents { images, labels: Labels::Classes { names, of: all.labels }, train: own_split })
}

/// Images and labels of one half.
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

/// Reads an IDX file of unsigned bytes with `N` dimensions: a magic number, the sizes, the bytes.
fn read_idx<const N: usize>(path: &Path) -> Result<([usize; N], Vec<u8>), DataError> {
    let file = File::open(path).map_err(|e| DataError::at(path, format!("cannot be read: {e}")))?;
    let file = BufReader::new(file);
    if path.extension().is_some_and(|end| end == "gz") {
        parse_idx(path, GzDecoder::new(file))
    } else {
        parse_idx(path, file)
    }
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
    // `read_to_end` grows with what is really there, so a header alone takes no memory.
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
    use flate2::{Compression, write::GzEncoder};
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
        assert_eq!(data.load(Split::Train, 1).unwrap(), crate::Image::new(3, 2, 1, (6..12).collect()));
    }

    #[test]
    fn without_test_files_a_split_is_drawn() {
        let data = open(&[("train-images-idx3-ubyte", images(9)), ("train-labels-idx1-ubyte", labels(9))]).unwrap();
        assert_eq!((data.len(Split::Train), data.len(Split::Val), data.has_own_split()), (6, 3, false));
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
            (train(images(1), labels(1)), "only one class"),
            (two, "image 3 has label 3, but the training labels end at 2"),
            (other_size, "images of [1, 1] pixels, but train-images-idx3-ubyte has [2, 3]"),
        ];
        for (files, expected) in cases {
            let error = open(&files).unwrap_err();
            assert!(error.message.starts_with(expected), "`{error}`, expected `{expected}`");
        }
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
