//! CIFAR-10 and CIFAR-100 in their binary form: records of one or two label bytes and 3 × 32 × 32 pixels.

use std::path::{Path, PathBuf};

use super::{Contents, Images, Labels, LeftOut, OwnSplit, Packed, class_names, read_file};
use crate::error::DataError;

/// Bytes of one image: red, green, blue planes of 32 × 32.
const PIXELS: usize = 3 * 32 * 32;

const CIFAR10_CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Which of the two data sets, and the location of its files.
struct Layout {
    /// Bytes before the pixels; the last one is the label.
    label_bytes: usize,
    classes: usize,
    names_file: &'static str,
    train: Vec<PathBuf>,
    test: PathBuf,
}

fn layout(root: &Path) -> Option<Layout> {
    let mut batches: Vec<PathBuf> = (1..=99).map(|i| root.join(format!("data_batch_{i}.bin"))).collect();
    if batches[0].is_file() {
        batches.retain(|path| path.is_file());
        let test = root.join("test_batch.bin");
        return Some(Layout { label_bytes: 1, classes: 10, names_file: "batches.meta.txt", train: batches, test });
    }
    let train = root.join("train.bin");
    train.is_file().then(|| Layout {
        label_bytes: 2,
        classes: 100,
        names_file: "fine_label_names.txt",
        train: vec![train],
        test: root.join("test.bin"),
    })
}

/// Whether this directory holds CIFAR files; also true for the Python form, which [`read`] rejects with advice.
pub(super) fn is_here(root: &Path) -> bool {
    layout(root).is_some() || is_python_form(root)
}

fn is_python_form(root: &Path) -> bool {
    root.join("data_batch_1").is_file() || (root.join("train").is_file() && root.join("meta").is_file())
}

pub(super) fn read(root: &Path) -> Result<Contents, DataError> {
    let Some(layout) = layout(root) else {
        let message = "holds the Python form of CIFAR, expected the binary one (`data_batch_1.bin` or `train.bin`): \
                       download the \"binary version (suitable for C programs)\"";
        return Err(DataError::at(root, message));
    };
    let classes = match class_names(&root.join(layout.names_file), layout.classes)? {
        Some(names) => names,
        None if layout.classes == 10 => CIFAR10_CLASSES.map(str::to_owned).to_vec(),
        None => (0..layout.classes).map(|class| class.to_string()).collect(),
    };
    let (mut pixels, mut labels, mut files) = (Vec::new(), Vec::new(), Vec::new());
    let mut append = |path: &Path| {
        let records = Records { label_bytes: layout.label_bytes, classes: layout.classes };
        let before = labels.len();
        records.append(path, &mut pixels, &mut labels)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push((name, labels.len() - before));
        Ok(labels.len())
    };
    let mut train = 0;
    for path in &layout.train {
        train = append(path)?;
    }
    let mut own_split = None;
    if layout.test.is_file() {
        let all = append(&layout.test)?;
        own_split = Some(OwnSplit { train, val: 0, test: all - train });
    }
    let images = Images::Packed(Packed { channels: 3, height: 32, width: 32, pixels, files });
    let labels = Labels::Classes { names: classes, of: labels };
    Ok(Contents { images, labels, split: own_split, left_out: LeftOut::default() })
}

struct Records {
    label_bytes: usize,
    classes: usize,
}

impl Records {
    fn append(&self, path: &Path, pixels: &mut Vec<u8>, labels: &mut Vec<usize>) -> Result<(), DataError> {
        let bytes = read_file(path)?;
        let record = self.label_bytes + PIXELS;
        if bytes.is_empty() || bytes.len() % record != 0 {
            let message = format!("{} bytes, expected a positive multiple of {record} (one CIFAR record)", bytes.len());
            return Err(DataError::at(path, message));
        }
        let more = bytes.len() / record * PIXELS;
        pixels.try_reserve(more).map_err(|e| DataError::at(path, format!("cannot be held: {e}")))?;
        for (i, record) in bytes.chunks_exact(record).enumerate() {
            let label = usize::from(record[self.label_bytes - 1]);
            if label >= self.classes {
                let message = format!("image {i} has label {label}, expected 0 to {}", self.classes - 1);
                return Err(DataError::at(path, message));
            }
            labels.push(label);
            pixels.extend_from_slice(&record[self.label_bytes..]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dataset, OpenOptions, Split};
    use std::fs::write;

    /// `n` records; the label of record `i` is `i % classes`, its pixels are `i`.
    fn records(n: usize, label_bytes: usize, classes: usize) -> Vec<u8> {
        let record = |i: usize| {
            let mut record = vec![200; label_bytes + PIXELS];
            record[label_bytes - 1] = (i % classes) as u8;
            record[label_bytes..].fill(i as u8);
            record
        };
        (0..n).flat_map(record).collect()
    }

    fn open(root: &Path) -> Result<Dataset, DataError> {
        Dataset::open(root.to_str().unwrap(), &OpenOptions::default())
    }

    #[test]
    fn cifar10_with_its_own_split() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        write(root.join("data_batch_1.bin"), records(12, 1, 10)).unwrap();
        let mut second = records(3, 1, 10);
        // The first row of the first image: red 1, green 2, blue 3.
        for (plane, value) in [1, 2, 3].into_iter().enumerate() {
            second[1 + plane * 1024..][..32].fill(value);
        }
        write(root.join("data_batch_2.bin"), second).unwrap();
        write(root.join("test_batch.bin"), records(4, 1, 10)).unwrap();
        let data = open(root).unwrap();
        assert_eq!([Split::Train, Split::Val, Split::All].map(|s| data.len(s)), [15, 4, 19]);
        assert_eq!((data.native_size(), data.native_channels(), data.has_own_split()), (Some([32, 32]), Some(3), true));
        assert_eq!(data.classes()[3], "cat");
        assert_eq!(data.item(Split::Train, 11), (1, "data_batch_1.bin[11]".to_owned()));
        assert_eq!(data.item(Split::Train, 12), (0, "data_batch_2.bin[0]".to_owned()));
        assert_eq!(data.item(Split::Val, 3), (3, "test_batch.bin[3]".to_owned()));
        assert_eq!(
            data.load(Split::Train, 12, &crate::DecodeOptions::default()).unwrap().data[..6],
            [1, 2, 3, 1, 2, 3]
        );
        assert_eq!(data.load(Split::Val, 2, &crate::DecodeOptions::default()).unwrap().data, vec![2; PIXELS]);
        assert!(
            data.describe().starts_with("19 images, 10 classes: airplane, automobile, bird, "),
            "{}",
            data.describe()
        );
        assert!(data.describe().ends_with("(15 train, 4 test, also used as val, own split)"));
        assert_eq!(data.item(Split::Test, 3), data.item(Split::Val, 3));
        assert_eq!(data.left_out_note(), None);
        write(root.join("data_batch_1.bin"), &records(12, 1, 10)[2 * 3073..9 * 3073]).unwrap();
        std::fs::remove_file(root.join("data_batch_2.bin")).unwrap();
        let note = open(root).unwrap().left_out_note().unwrap();
        assert_eq!(note, "no training images of 3 of 10 classes: airplane, automobile, truck");
    }

    #[test]
    fn cifar100_takes_the_fine_label_and_names_from_the_file() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path().join("train.bin"), records(300, 2, 100)).unwrap();
        let data = open(dir.path()).unwrap();
        assert_eq!((data.classes().len(), data.classes()[42].as_str(), data.has_own_split()), (100, "42", false));
        let parts = [Split::Train, Split::Val].map(|s| data.len(s));
        assert!(parts[0] + parts[1] == 300 && parts[1] >= 100, "every class gives one of its three: {parts:?}");
        let names: String = (0..100).map(|i| format!("name {i}\n")).collect();
        write(dir.path().join("fine_label_names.txt"), names + "\n").unwrap();
        assert_eq!(open(dir.path()).unwrap().classes()[42], "name 42");
        write(dir.path().join("fine_label_names.txt"), "one\n").unwrap();
        assert!(open(dir.path()).unwrap_err().message.starts_with("1 class names, expected 100"));
    }

    #[test]
    fn every_wrong_file_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("data_batch_1.bin");
        for bytes in [vec![], vec![0; 3072], vec![0; 3074]] {
            write(&file, &bytes).unwrap();
            let expected = format!("{} bytes, expected a positive multiple of 3073 (one CIFAR record)", bytes.len());
            assert_eq!(open(dir.path()).unwrap_err().message, expected);
        }
        let mut bytes = records(2, 1, 10);
        bytes[3073] = 10;
        write(&file, bytes).unwrap();
        assert_eq!(open(dir.path()).unwrap_err().message, "image 1 has label 10, expected 0 to 9");
        std::fs::rename(&file, dir.path().join("data_batch_1")).unwrap();
        assert!(open(dir.path()).unwrap_err().message.starts_with("holds the Python form of CIFAR"));
    }
}
