use super::*;
use crate::{DataError, Dataset, OpenOptions, Split, testdata};
use proptest::prelude::*;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

/// A header of this kind.
fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    header
}

/// A complete tar file of plain members.
fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, data) in members {
        let mut header = header(EntryType::Regular, data.len() as u64);
        builder.append_data(&mut header, name, *data).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A header with its checksum, and the end mark.
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
        assert_eq!(
            data.load(Split::Val, 0, &crate::DecodeOptions::default()).unwrap(),
            decode::decode(&png(), "x", &crate::DecodeOptions::default()).unwrap()
        );
        assert_eq!((data.native_size(), data.has_own_split()), (None, true));
    }
    let dir = tempfile::tempdir().unwrap();
    write(&dir, "b.tar", &shard(&[("2", "1"), ("3", "1"), ("4", "1"), ("5", "1")]));
    write(&dir, "a.tar", &shard(&[("1", "0"), ("0", "0"), ("00", "0"), ("000", "0")]));
    let data = open(&dir).unwrap();
    assert!(data.describe().starts_with("8 images, 2 classes: 0, 1 ("), "{}", data.describe());
    assert_eq!((data.len(Split::All), data.has_own_split()), (8, false));
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

/// Asserts that opening a shard of these members fails with this end of the message.
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
        &shard(&[("1", "1"), ("2", "3")]),
        "numbered up to 3, but no training image is of class 2; numbers begin at 0 or 1",
    );
    let far = shard(&[("1", "0"), ("2", "99999999999")]);
    says(&far, "numbered up to 99999999999, but no training image is of class 1");
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
    says(&[0x1f, 0x8b, 1, 2], "s.tar: is packed with gzip: unpack it to a plain .tar");
    says(&lone(header(EntryType::Symlink, 0)), "no images in the tar files");
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
        assert_eq!(
            data.load(Split::Train, i, &crate::DecodeOptions::default()).unwrap(),
            decode::decode(&png(), "x", &crate::DecodeOptions::default()).unwrap()
        );
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
                prop_assert!(data.load(Split::All, i, &crate::DecodeOptions::default()).unwrap_err().message.contains("not a JPEG, PNG, WebP, BMP, GIF or TIFF image"));
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
    let error = open(&dir).unwrap_err().message;
    let expected = "2 names of tar files say their part (1 train, 1 val), 1 do not (other.tar): rename or remove some";
    assert_eq!(error, expected);
}

#[test]
fn a_shard_that_shrank_is_told_when_an_image_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = shard(&[("1", "a"), ("2", "b")]);
    write(&dir, "train.tar", &bytes);
    let data = open(&dir).unwrap();
    write(&dir, "train.tar", &bytes[..600]);
    let error = data.load(Split::All, 0, &crate::DecodeOptions::default()).unwrap_err().to_string();
    assert!(error.contains("train.tar/1.png: 88 of ") && error.ends_with("shorter than when it was opened"), "{error}");
    std::fs::remove_file(dir.path().join("train.tar")).unwrap();
    assert!(
        data.load(Split::All, 1, &crate::DecodeOptions::default())
            .unwrap_err()
            .to_string()
            .contains("train.tar/2.png: cannot be read: ")
    );
}

/// A folder with these tar files, each with two pictures of two classes.
fn shards(names: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in names {
        write(&dir, name, &shard(&[("1", "a"), ("2", "b")]));
    }
    dir
}

#[test]
fn names_say_their_part_anywhere_as_a_word() {
    let names = ["imagenet1k-train-0000.tar", "imagenet1k-validation-00.tar", "imagenet1k_TEST.tar", "train000.tar"];
    let data = open(&shards(&names)).unwrap();
    assert_eq!(data.describe(), "8 images, 2 classes: a, b (4 train, 2 val, 2 test, own split)");
    assert_eq!(items(&data, Split::Test)[0].1, "imagenet1k_TEST.tar/1.png");
    let data = open(&shards(&["foo_val_3.tar", "Dev-1.tar"])).unwrap();
    assert_eq!(data.describe(), "4 images, 2 classes: a, b (0 train, 4 val, own split)");
    let data = open(&shards(&["Training/1.tar", "testing/x.tar"])).unwrap();
    assert_eq!(data.describe(), "4 images, 2 classes: a, b (2 train, 2 test, also used as val, own split)");
    assert!(!open(&shards(&["a-train.tar", "b-train.tar"])).unwrap().has_own_split());
}

#[test]
fn mixed_sets_are_never_thrown_together() {
    for (names, expected) in [
        (&["x-train.tar", "y.tar"][..], "1 names of tar files say their part (1 train), 1 do not (y.tar)"),
        (&["val-of-train.tar"], "the name says more than one part of the data"),
        (&["x.tar", "train/y.tar"], "tar files lie in it (x.tar) and in `train`"),
        (&["val/y.tar", "valid/y.tar", "train/x.tar"], "is for validation, and so is "),
    ] {
        let error = open(&shards(names)).unwrap_err().message;
        assert!(error.starts_with(expected), "{names:?}: {error}");
    }
    let dir = shards(&["x.tar"]);
    write(&dir, "cat/1.png", &png());
    let error = open(&dir).unwrap_err().message;
    assert_eq!(error, "holds tar files, but also the folder `cat` of images: expected one or the other");
}

#[test]
fn keys_with_dots_keep_their_pictures() {
    let open_members = |members: &[(&str, &[u8])]| {
        let dir = tempfile::tempdir().unwrap();
        write(&dir, "s.tar", &tar(members));
        let data = open(&dir).unwrap();
        let mut all = items(&data, Split::All);
        all.sort();
        let all: Vec<String> = all.iter().map(|(label, name)| format!("{label} {}", &name[6..])).collect();
        (all, data.left_out_note().unwrap_or_default())
    };
    let none = String::new();
    let (a, b): (&[u8], &[u8]) = (b"a", b"b");
    let versions =
        [("img.v1.jpg", a), ("img.v1.cls", a), ("img.v2.jpg", a), ("img.v2.cls", b), ("img.jpg", a), ("img.cls", b)];
    assert_eq!(
        open_members(&versions),
        (["0 img.v1.jpg", "1 img.jpg", "1 img.v2.jpg"].map(str::to_owned).to_vec(), none.clone())
    );
    let half = [
        ("IMG.0001.jpg", a),
        ("IMG.0001.cls", a),
        ("IMG_2.jpg", a),
        ("IMG_2.cls", b),
        ("IMG.3.CLS", b),
        ("IMG.3.png", a),
    ];
    assert_eq!(open_members(&half).0.len(), 3);
    let other = [("1.jpg", a), ("1.seg.png", a), ("1.cls", a), ("2.rgb.jpg", a), ("2.cls", b), ("2.json", a)];
    let note = "2 files left out: 1 json, 1 png".to_owned();
    assert_eq!(open_members(&other), (["0 1.jpg", "1 2.rgb.jpg"].map(str::to_owned).to_vec(), note));
    let apart = [("1.cls", a), ("2.cls", b), ("2.x.cls", b), ("1.jpg", a), ("2.jpg", a), ("2.x.jpg", a)];
    assert_eq!(open_members(&apart), (["0 1.jpg", "1 2.jpg", "1 2.x.jpg"].map(str::to_owned).to_vec(), none));
    let lacking = [("1.jpg", a), ("1.cls", a), ("2.jpg", a), ("3.cls", b), ("._4.jpg", a), ("5.jpg", a), ("5.cls", b)];
    let note = "3 files left out: 1 hidden, 1 labels without an image, 1 without a label".to_owned();
    assert_eq!(open_members(&lacking), (["0 1.jpg", "1 5.jpg"].map(str::to_owned).to_vec(), note));
}

#[test]
fn classes_may_be_numbered_from_one() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir, "train.tar", &shard(&[("1", "1"), ("2", "2"), ("3", "\u{feff}03")]));
    write(&dir, "val.tar", &shard(&[("1", "2")]));
    let data = open(&dir).unwrap();
    assert_eq!((data.classes(), data.label(Split::Val, 0)), (&["1", "2", "3"].map(str::to_owned)[..], 1));
    write(&dir, "val.tar", &shard(&[("1", "0")]));
    assert!(open(&dir).unwrap_err().message.starts_with("class `0` is not in the training shards"));
}

#[test]
fn padded_and_sparse_shards_are_read_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (shard(&[("1", "a"), ("2", "b")]), shard(&[("3", "a"), ("4", "b")]));
    write(&dir, "padded.tar", &[&first[..], &vec![0; 5 << 20], &second, &[0; 512 * 3]].concat());
    write(&dir, "sparse.tar", &first);
    // 8 TiB of zeros: block by block it would take hours.
    let sparse = std::fs::OpenOptions::new().write(true).open(dir.path().join("sparse.tar")).unwrap();
    let len = if cfg!(target_os = "linux") { 1 << 43 } else { 1 << 28 };
    sparse.set_len(len).unwrap();
    let data = open(&dir).unwrap();
    assert_eq!(data.len(Split::All), 6);
    for i in 0..6 {
        assert!(data.load(Split::All, i, &crate::DecodeOptions::default()).is_ok());
    }
}

#[test]
fn a_name_of_megabytes_is_refused_before_it_is_held() {
    let mut long = header(EntryType::GNULongName, 3 << 20);
    long.set_path("././@LongLink").unwrap();
    long.set_cksum();
    let bytes = [long.as_bytes(), &vec![b'x'; 3 << 20][..], &[0; 1024]].concat();
    says(&bytes, "an extended header of more than 1024 KiB");
}
