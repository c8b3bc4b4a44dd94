//! Where labelled images come from. Each source reads its files and returns a [`Contents`]; what they share lies here.

mod cifar;
mod digits;
mod folder;
mod mnist;
mod shards;

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::{Crc, CrcReader};

use crate::decode::{self, MAX_FILE_BYTES};
use crate::error::DataError;
use crate::image::Image;
use crate::people::{self, People};
use crate::regular;
use shards::Shards;

/// What a source found: images with labels, in a fixed order.
#[derive(Debug)]
pub(crate) struct Contents {
    pub images: Images,
    pub labels: Labels,
    /// How many of the items, from the first, are for training, where the source says so itself.
    pub train: Option<usize>,
}

/// What is known of the images.
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
    /// Images of one size in memory, as they lie in the files.
    Packed(Packed),
    /// Files, read when asked for; paths relative to `root`, with `/` between the parts.
    Files { root: PathBuf, paths: Vec<String> },
    /// Members of tar files, read when asked for.
    Shards(Shards),
}

/// Images of one size, one behind the other.
#[derive(Debug)]
pub(crate) struct Packed {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    /// `[image, channels, height, width]`
    pub pixels: Vec<u8>,
    /// The files they came from: name and number of images.
    pub files: Vec<(String, usize)>,
}

/// Opens `digits` or a directory of one of the known forms.
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
        return Err(DataError::at(root, "is a file, expected a directory that holds one folder of images per class"));
    }
    if people::is_here(root) {
        people::folder(root, None)
    } else if cifar::is_here(root) {
        cifar::read(root)
    } else if mnist::is_here(root) {
        mnist::read(root)
    } else if shards::is_here(root) {
        shards::read(root)
    } else {
        folder::read(root)
    }
}

impl Images {
    /// What an image is called in errors and lists, e.g. `cats/1.jpg` or `digits[17]`.
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

    /// CRC-32 of an image's bytes, as they lie in the file.
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

    pub fn load(&self, index: usize) -> Result<Image, DataError> {
        match self {
            // The error names the whole path: that is what a person can open.
            Self::Files { root, paths } => decode::load(&root.join(&paths[index])),
            Self::Shards(shards) => shards.load(index),
            Self::Packed(packed) => Ok(packed.get(index)),
        }
    }
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// CRC-32 of what a reader has, at most the size of an image file.
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

fn read_file(path: &Path) -> Result<Vec<u8>, DataError> {
    std::fs::read(path).map_err(|e| DataError::at(path, format!("cannot be read: {e}")))
}

/// Class names from a text file with one per line, or `None` where there is no such file.
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
