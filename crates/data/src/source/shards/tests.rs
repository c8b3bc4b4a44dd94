use super::*;
use crate::{DataError, Dataset, OpenOptions, Split, testdata};
use proptest::prelude::*;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

/// A member of a kind.
fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    header
}

/// A whole tar file of plain members.
fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, data) in members {
        let mut header = header(EntryType::Regular, data.len() as u64);
        builder.append_data(&mut header, name, *data).unwrap();
    }
    builder.into_inner().unwrap()
}

/// One header with its checksum, and the end mark.
fn lone(mut header: Header) -> Vec<u8> {
    header.set_path("1.jpg").unwrap();
    header.set_cksum();
    [&header.as_bytes()[..], &[0; 1024]].concat()
}

fn write(dir: &TempDir, name: &str, bytes: &[u8]) {
    let path = dir.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn png() -> Vec<u8> {
    testdata::bytes("convert_rgba.png")
}

/// A tar file with a picture and a label for each pair of key and label.
fn shard(samples: &[(&str, &str)]) -> Vec<u8> {
    let png = png();
    let names: Vec<[String; 3]> =
        samples.iter().map(|(key, _)| ["png", "cls", "json"].map(|end| format!("{key}.{end}"))).collect();
    let members = names.iter().zip(samples).flat_map(|([image, label, other], (_, text))| {
        [(image.as_str(), png.as_slice()), (label.as_str(), text.as_bytes()), (other.as_str(), b"{}")]
    });
    tar(&members.collect::<Vec<_>>())
}

fn open(dir: &TempDir) -> Result<Dataset, DataError> {
    Dataset::open(dir.path().to_str().unwrap(), &OpenOptions { val_fraction: 0.25, seed: 1 })
}

fn items(data: &Dataset, split: Split) -> Vec<(usize, String)> {
    (0..data.len(split)).map(|i| data.item(split, i)).collect()
}

#[test]
fn folders_and_names_say_which_part_a_shard_is() {
    for (train, val) in [("train/000.tar", "val/000.tar"), ("train-000.tar", "val-000.tar"), ("train.tar", "test.tar")]
    {
        let dir = tempfile::tempdir().unwrap();
        write(&dir, train, &shard(&[("a/x.y/1", "cat"), ("a/2", "dog\n"), ("3", "cat")]));
        write(&dir, val, &shard(&[("1", "dog")]));
        let data = open(&dir).unwrap();
        assert_eq!(data.classes(), ["cat", "dog"]);
        let expected = [(0, "a/x.y/1.png"), (1, "a/2.png"), (0, "3.png")].map(|(l, n)| (l, format!("{train}/{n}")));
        assert_eq!(items(&data, Split::Train), expected);
        assert_eq!(items(&data, Split::Val), [(1, format!("{val}/1.png"))]);
        assert_eq!(data.load(Split::Val, 0).unwrap(), decode::decode(&png(), "x").unwrap());
        assert_eq!((data.native_size(), data.has_own_split()), (None, true));
    }
    let dir = tempfile::tempdir().unwrap();
    write(&dir, "b.tar", &shard(&[("2", "1"), ("3", "1"), ("4", "1"), ("5", "1")]));
    write(&dir, "a.tar", &shard(&[("1", "0"), ("0", "0"), ("00", "0"), ("000", "0")]));
    let data = open(&dir).unwrap();
    assert_eq!(data.describe(), "8 images, 2 classes (6 train, 2 val, split seed 1)");
    assert!(items(&data, Split::Train)[0].1.starts_with("a.tar/"));
}

#[test]
fn lists_name_the_classes() {
    for (list, text) in [("classes.txt", "bird\n cat\n\ndog"), ("classes.json", r#"["bird", "cat", "dog"]"#)] {
        let dir = tempfile::tempdir().unwrap();
        write(&dir, "s.tar", &shard(&[("1", "2"), ("2", "cat"), ("3", "02")]));
        write(&dir, list, text.as_bytes());
        let data = open(&dir).unwrap();
        assert_eq!(data.classes(), ["bird", "cat", "dog"]);
        let mut labels: Vec<usize> = items(&data, Split::All).into_iter().map(|(label, _)| label).collect();
        labels.sort_unstable();
        assert_eq!(labels, [1, 2, 2]);
        write(&dir, "s.tar", &shard(&[("1", "3"), ("2", "cat")]));
        let error = open(&dir).unwrap_err().to_string();
        assert!(error.ends_with("s.tar/1.cls: class `3`, expected 0 to 2 or a name of the list"), "{error}");
    }
}

/// Opening a shard of these members fails with this end of the message.
fn says(bytes: &[u8], expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    write(&dir, "s.tar", bytes);
    let error = open(&dir).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
    assert!(error.starts_with(dir.path().to_str().unwrap()), "{error}");
}

#[test]
fn every_wrong_shard_is_told() {
    let has_no_class = tar(&[("1.jpg", b"x"), ("2.cls", b"0")]);
    says(&has_no_class, "s.tar: `1.jpg` has no class: expected a member `1.cls` beside it");
    says(&tar(&[("1.cls", b"0")]), "s.tar: `1.cls` has no image: expected a member `1.jpg`");
    let two = tar(&[("1.jpg", b"x"), ("1.png", b"x"), ("1.cls", b"0")]);
    says(&two, "`1` has two images, `1.jpg` and `1.png`; expected one");
    says(&tar(&[("1.jpg", b"x"), ("1.cls", b"0"), ("1.cls", b"0")]), "`1` has two .cls members");
    says(&tar(&[("1.cls", b" \n")]), "`1.cls` holds ` \\n`; expected the number or the name of a class");
    says(&tar(&[("1.cls", &[b'1'; 2000])]), "`1.cls` has more than 1024 bytes; expected the number");
    says(&tar(&[("README", b"x"), (".x.jpg", b"x"), ("notes.txt", b"")]), "no images in the tar files");
    says(
        &shard(&[("1", "1"), ("2", "2")]),
        "numbered up to 2, but no training image is of class 0; numbers begin at 0",
    );
    let far = shard(&[("1", "0"), ("2", "99999999999")]);
    says(&far, "numbered up to 99999999999, but no training image is of class 1");
    says(&shard(&[("1", "a"), ("2", "a")]), "only one class");
}

#[test]
fn every_lie_of_a_tar_file_is_told() {
    let whole = shard(&[("1", "a"), ("2", "b")]);
    says(&whole[..whole.len() - 1024], "s.tar: cut off: no end mark (a block of zeros) at byte ");
    says(&whole[..700], "s.tar: cut off: `1.png` has ");
    says(&whole[..700], " bytes, but only 188 follow");
    says(b"hello", "s.tar: damaged or no tar file, after byte 0: ");
    says(&[b'x'; 512], "s.tar: damaged or no tar file, after byte 0: ");
    says(&[&whole[..], b"garbage"].concat(), "s.tar: damaged or no tar file, after byte ");
    says(&[0x1f, 0x8b, 1, 2], "s.tar: is gzipped: unpack it to a plain .tar");
    says(&lone(header(EntryType::Symlink, 0)), "`1.jpg` is a link or no plain file");
    says(&lone(header(EntryType::Regular, 1 << 60)), "cut off: `1.jpg` has 1152921504606846976 bytes, but only 1024");
    says(&lone(header(EntryType::Regular, u64::MAX)), "s.tar: damaged or no tar file, after byte 0: size overflow");
    says(&lone(header(EntryType::XHeader, 1 << 40)), "s.tar: damaged or no tar file, after byte 0: ");
    says(&lone(header(EntryType::GNULongName, 1 << 40)), "s.tar: damaged or no tar file, after byte 0: ");
}

#[test]
fn long_names_folders_and_joined_archives_are_read() {
    let far = "far/".repeat(60);
    let mut folder = header(EntryType::Directory, 0);
    folder.set_path("d.jpg/").unwrap();
    folder.set_cksum();
    let first = [folder.as_bytes(), &shard(&[(&format!("{far}1"), "a"), ("2", "b")])[..]].concat();
    let mut pax = Builder::new(Vec::new());
    pax.append_pax_extensions([("path", "pax.png".as_bytes()), ("size", png().len().to_string().as_bytes())]).unwrap();
    let mut lies = header(EntryType::Regular, 0);
    lies.set_path("lies.png").unwrap();
    lies.set_cksum();
    pax.append(&lies, &png()[..]).unwrap();
    pax.append_data(&mut header(EntryType::Regular, 1), "pax.cls", &b"b"[..]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    write(&dir, "train.tar", &[first, pax.into_inner().unwrap()].concat());
    write(&dir, "val.tar", &shard(&[("1", "a")]));
    let data = open(&dir).unwrap();
    let names = [format!("{far}1.png"), "2.png".into(), "pax.png".into()].map(|name| format!("train.tar/{name}"));
    assert_eq!(items(&data, Split::Train).into_iter().map(|(_, name)| name).collect::<Vec<_>>(), names);
    for i in 0..3 {
        assert_eq!(data.load(Split::Train, i).unwrap(), decode::decode(&png(), "x").unwrap());
    }
}

proptest! {
    #[test]
    fn damaged_shards_never_panic(
        changes in prop::collection::vec((0..4096usize, any::<u8>()), 0..20), cut in any::<prop::sample::Index>(),
        sealed: bool,
    ) {
        let mut bytes = tar(&[("1.png", &[7; 700]), ("1.cls", b"a"), ("2.png", &[7; 10]), ("2.cls", b"b")]);
        for (at, value) in changes {
            bytes[at] = value;
        }
        if sealed {
            let mut first = Header::new_gnu();
            first.as_mut_bytes().copy_from_slice(&bytes[..512]);
            first.set_cksum();
            bytes[..512].copy_from_slice(first.as_bytes());
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let dir = tempfile::tempdir().unwrap();
        write(&dir, "s.tar", &bytes);
        if let Ok(data) = open(&dir) {
            for i in 0..data.len(Split::All) {
                prop_assert!(data.load(Split::All, i).unwrap_err().message.contains("not a JPEG, PNG or WebP image"));
            }
        }
    }
}

#[test]
fn the_parts_must_fit() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir, "train-0.tar", &shard(&[("1", "a"), ("2", "b")]));
    write(&dir, "val-0.tar", &shard(&[("1", "c")]));
    let error = open(&dir).unwrap_err().to_string();
    assert!(error.ends_with("val-0.tar/1.cls: class `c` is not in the training shards"), "{error}");
    write(&dir, "val-0.tar", &tar(&[]));
    assert!(open(&dir).unwrap_err().message.starts_with("no images in the tar files for validation"));
    write(&dir, "other.tar", &tar(&[]));
    let error = open(&dir).unwrap_err().to_string();
    assert!(error.ends_with("other.tar: expected a name that begins with train or val, as others do"), "{error}");
}

#[test]
fn a_shard_that_shrank_is_told_when_an_image_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = shard(&[("1", "a"), ("2", "b")]);
    write(&dir, "train.tar", &bytes);
    let data = open(&dir).unwrap();
    write(&dir, "train.tar", &bytes[..600]);
    let error = data.load(Split::All, 0).unwrap_err().to_string();
    assert!(error.contains("train.tar/1.png: 88 of ") && error.ends_with("shorter than when it was opened"), "{error}");
    std::fs::remove_file(dir.path().join("train.tar")).unwrap();
    assert!(data.load(Split::All, 1).unwrap_err().to_string().contains("train.tar/2.png: cannot be read: "));
}
