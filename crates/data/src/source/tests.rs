use std::path::Path;

use crate::{DataError, Dataset, OpenOptions, Split};

fn open(root: &Path) -> Result<Dataset, DataError> {
    Dataset::open(root.to_str().unwrap(), &OpenOptions::default())
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// An IDX file of unsigned bytes.
fn idx(sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, 8, sizes.len() as u8];
    sizes.iter().for_each(|size| out.extend(size.to_be_bytes()));
    out.extend(bytes);
    out
}

#[test]
fn the_folder_above_the_files_is_as_good() {
    let dir = tempfile::tempdir().unwrap();
    let record = [vec![3], vec![0; 3072]].concat();
    write(dir.path(), "cifar-10-batches-bin/data_batch_1.bin", &record.repeat(3));
    write(dir.path(), "cifar-10-batches-bin/test_batch.bin", &record);
    let data = open(dir.path()).unwrap();
    assert_eq!((data.len(Split::Train), data.len(Split::Test)), (3, 1));
    assert_eq!(data.item(Split::Test, 0), (3, "test_batch.bin[0]".to_owned()));
    for above in ["", "MNIST"] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "MNIST/raw/train-images-idx3-ubyte", &idx(&[4, 1, 1], &[1, 2, 3, 4]));
        write(dir.path(), "MNIST/raw/train-labels-idx1-ubyte", &idx(&[4], &[0, 1, 0, 1]));
        assert_eq!(open(&dir.path().join(above)).unwrap().len(Split::All), 4, "{above}");
    }
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "mine/train-images-idx3-ubyte", &idx(&[4, 1, 1], &[1, 2, 3, 4]));
    let error = open(dir.path()).unwrap_err().message;
    assert!(error.ends_with("mine holds MNIST files: open that"), "{error}");
}

#[test]
fn forms_that_are_not_read_are_answered_with_what_to_do() {
    for (file, bytes, advice) in [
        (
            "train-000.tar.gz",
            &[0x1f, 0x8b][..],
            "there are packed tar files (.tar.gz), which are not read: unpack them",
        ),
        ("train-000.tgz", &[0x1f, 0x8b], "there are packed tar files (.tgz), which are not read: unpack them"),
        ("data/train-00000-of-1.parquet", b"PAR1", "there are Parquet files (.parquet), which are not read: write its"),
        ("photos.zip", b"PK\x03\x04", "there are zip archives (.zip), which are not read: unpack them"),
        ("cifar-10-batches-py/data_batch_1", b"\x80\x02", "holds the Python form of CIFAR, expected the binary one"),
        ("data_batch_1", b"\x80\x02", "holds the Python form of CIFAR, expected the binary one"),
        ("s.tar", &[0x1f, 0x8b, 8, 0], "is packed with gzip: unpack it to a plain .tar"),
        ("s.tar", &[0x28, 0xb5, 0x2f, 0xfd], "is packed with zstd: unpack it to a plain .tar"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), file, bytes);
        let error = open(dir.path()).unwrap_err().message;
        assert!(error.contains(advice), "{file}: {error}");
        assert!(open(&dir.path().join(file)).is_err(), "a file is no directory");
    }
}

#[test]
fn a_file_is_told_by_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    for (bytes, message) in [
        (&b"PK\x03\x04"[..], "is a zip archive: unpack it and name the folder"),
        (&[0x1f, 0x8b], "is packed with gzip: unpack it and name the folder"),
        (&tar, "is a tar file: name the folder that it lies in, with no other tar files beside it"),
        (b"PAR1", "is a Parquet file, which is not read: "),
        (b"", "is a file, expected a directory that holds one folder of images per class"),
    ] {
        write(dir.path(), "x", bytes);
        let error = open(&dir.path().join("x")).unwrap_err().message;
        assert!(error.starts_with(message), "{error}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_size_that_is_only_claimed_takes_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "data_batch_1.bin", b"");
    let file = std::fs::OpenOptions::new().write(true).open(dir.path().join("data_batch_1.bin")).unwrap();
    file.set_len(1 << 42).unwrap();
    let error = open(dir.path()).unwrap_err().message;
    assert_eq!(error, "4398046511104 bytes, but the limit is 2048 MiB");
}
