//! Sources of labelled images. Each source reads its files and returns a [`Contents`]; shared code is in this module.

mod advice;
mod cifar;
mod digits;
mod folder;
mod left_out;
mod magic;
mod mnist;
mod part;
mod shards;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::{Crc, CrcReader};

use crate::decode::{self, MAX_FILE_BYTES};
use crate::error::DataError;
use crate::image::Image;
use crate::limits::DecodeOptions;
use crate::people::{self, People};
use crate::regular;
pub(crate) use left_out::LeftOut;
use shards::Shards;

/// The content of a source: images with labels, in a fixed order.
#[derive(Debug)]
pub(crate) struct Contents {
    pub images: Images,
    pub labels: Labels,
    /// The parts, if the source defines them.
    pub split: Option<OwnSplit>,
    pub left_out: LeftOut,
}

/// Number of items for training, validation and testing, which come in this order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnSplit {
    pub train: usize,
    pub val: usize,
    pub test: usize,
}

/// The labels of the images.
#[derive(Debug)]
pub(crate) enum Labels {
    /// Every image is an item and has a class.
    Classes {
        names: Vec<String>,
        /// Class of every image.
        of: Vec<usize>,
    },
    /// Every person is an item; an image may show several or none.
    People(People),
}

/// The images of a source.
#[derive(Debug)]
pub(crate) enum Images {
    /// Images of one size in memory, as stored in the files.
    Packed(Packed),
    /// Files, read on demand; paths relative to `root`, with `/` as separator.
    Files { root: PathBuf, paths: Vec<String> },
    /// Members of tar files, read on demand.
    Shards(Shards),
}

/// Contiguous images of one size.
#[derive(Debug)]
pub(crate) struct Packed {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    /// `[image, channels, height, width]`
    pub pixels: Vec<u8>,
    /// The files they were read from: name and number of images.
    pub files: Vec<(String, usize)>,
}

/// Opens `digits` or a directory in one of the known forms.
pub(crate) fn open(spec: &str) -> Result<Contents, DataError> {
    if spec == "digits" {
        return digits::read();
    }
    let root = Path::new(spec);
    if !root.exists() {
        let hint = "expected `digits` or a directory of images, tar shards, CIFAR, MNIST or COCO keypoints files";
        return Err(DataError::at(root, format!("no such file or directory; {hint}")));
    }
    if !root.is_dir() {
        return Err(DataError::at(root, advice::for_file(root)));
    }
    match known(root) {
        Some(contents) => contents,
        None => match INSIDE.iter().map(|name| root.join(name)).find_map(|inner| known(&inner)) {
            Some(contents) => contents,
            None => folder::read(root),
        },
    }
}

/// Sub-folders into which archives and downloaders put the files of a data set: their parent is accepted as the root,
/// too.
const INSIDE: [&str; 9] = [
    "cifar-10-batches-bin",
    "cifar-100-binary",
    "raw",
    "MNIST/raw",
    "FashionMNIST/raw",
    "KMNIST/raw",
    "EMNIST/raw",
    "cifar-10-batches-py",
    "cifar-100-python",
];

/// Reads a directory in one of the known forms; `None` if it can only be a folder of images.
fn known(root: &Path) -> Option<Result<Contents, DataError>> {
    if people::is_here(root) {
        Some(people::folder(root, None))
    } else if cifar::is_here(root) {
        Some(cifar::read(root))
    } else if mnist::is_here(root) {
        Some(mnist::read(root))
    } else if shards::is_here(root) {
        Some(shards::read(root))
    } else {
        None
    }
}

impl Images {
    /// The name of an image in errors and lists, e.g. `cats/1.jpg` or `digits[17]`.
    pub fn name(&self, index: usize) -> String {
        match self {
            Self::Files { paths, .. } => paths[index].clone(),
            Self::Shards(shards) => shards.name(index),
            Self::Packed(packed) => {
                let mut within = index;
                for (file, len) in &packed.files {
                    if within < *len {
                        return format!("{file}[{within}]");
                    }
                    within -= len;
                }
                format!("image {index}")
            }
        }
    }

    /// CRC-32 of an image's bytes, as stored in the file.
    pub fn checksum(&self, index: usize) -> Result<u32, DataError> {
        match self {
            Self::Files { root, paths } => {
                let path = root.join(&paths[index]);
                checksum(regular::open(&path)?).map_err(|e| DataError::at(&path, format!("cannot be read: {e}")))
            }
            Self::Shards(shards) => shards.bytes(index).map(|(_, bytes)| crc(&bytes)),
            Self::Packed(packed) => Ok(crc(packed.pixels(index))),
        }
    }

    pub fn load(&self, index: usize, options: &DecodeOptions) -> Result<Image, DataError> {
        match self {
            // The error names the whole path, which the user can open.
            Self::Files { root, paths } => decode::load(&root.join(&paths[index]), options),
            Self::Shards(shards) => shards.load(index, options),
            Self::Packed(packed) => Ok(packed.get(index)),
        }
    }
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// CRC-32 of the content of a reader, up to the largest size of an image file.
fn checksum(reader: impl Read) -> std::io::Result<u32> {
    let mut content = CrcReader::new(reader.take(MAX_FILE_BYTES));
    std::io::copy(&mut content, &mut std::io::sink())?;
    Ok(content.crc().sum())
}

impl Packed {
    fn pixels(&self, index: usize) -> &[u8] {
        let len = self.channels * self.height * self.width;
        &self.pixels[index * len..][..len]
    }

    fn get(&self, index: usize) -> Image {
        let (c, plane) = (self.channels, self.height * self.width);
        let planes = self.pixels(index);
        let data = (0..plane).flat_map(|i| (0..c).map(move |channel| planes[channel * plane + i])).collect();
        Image { width: self.width, height: self.height, channels: c, data }
    }
}

/// Largest file that is read as a whole, in bytes: 2 GiB.
const MAX_BYTES: u64 = 2 << 30;

/// Reads a whole file of at most [`MAX_BYTES`]; its size is checked before memory is allocated.
fn read_file(path: &Path) -> Result<Vec<u8>, DataError> {
    let unreadable = |e: std::io::Error| DataError::at(path, format!("cannot be read: {e}"));
    let file = regular::open(path)?;
    let len = file.metadata().map_err(unreadable)?.len();
    if len > MAX_BYTES {
        return Err(DataError::at(path, format!("{len} bytes, but the limit is {} MiB", MAX_BYTES >> 20)));
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len as usize).map_err(|e| DataError::at(path, format!("cannot be read: {e}")))?;
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// Class names from a text file with one per line, or `None` if there is no such file.
fn class_names(path: &Path, expected: usize) -> Result<Option<Vec<String>>, DataError> {
    if !path.exists() {
        return Ok(None);
    }
    let text = String::from_utf8(read_file(path)?).map_err(|_| DataError::at(path, "is not UTF-8 text"))?;
    let names: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if names.len() != expected {
        return Err(DataError::at(path, format!("{} class names, expected {expected}, one per line", names.len())));
    }
    Ok(Some(names))
}
