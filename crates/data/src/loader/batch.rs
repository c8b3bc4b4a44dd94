//! What a loader is told and what it gives.

/// How batches are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Images per batch, at least 1.
    pub batch: usize,
    /// Threads that load images; 0 counts as 1. Has no effect on what is loaded.
    pub threads: usize,
    /// Most batches under way or ready at a time; 0 counts as 1. This and `batch` bound the memory.
    pub prefetch: usize,
    /// Seed of the order and of every augmentation.
    pub seed: u64,
    /// Whether the order is drawn anew every epoch; otherwise it is that of the data set.
    pub shuffle: bool,
    /// Whether a last batch that is not full is left out.
    pub drop_last: bool,
    /// Most images of an epoch that may be broken; they are left out. One more is an error.
    pub max_broken: usize,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        Self { batch: 32, threads: 1, prefetch: 2, seed: 0, shuffle: false, drop_last: false, max_broken: 0 }
    }
}

impl LoaderOptions {
    /// Number of batches in an epoch of `images` images.
    pub fn batches(&self, images: usize) -> usize {
        let batch = self.batch.max(1);
        if self.drop_last { images / batch } else { images.div_ceil(batch) }
    }
}

/// Inputs of a network with their labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Position of this batch in the epoch, from 0.
    pub number: usize,
    /// Inputs, NCHW: `shape()` elements.
    pub images: Vec<f32>,
    /// Class of every image.
    pub labels: Vec<usize>,
    /// Index of every image within its part of the data set.
    pub indices: Vec<usize>,
    /// Channels, height and width of one input.
    pub input: [usize; 3],
}

impl Batch {
    /// Number of images: the batch size, less in a last batch or where images are broken; never 0.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images; a loader gives no such batch.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Images, channels, height, width.
    pub fn shape(&self) -> [usize; 4] {
        [self.len(), self.input[0], self.input[1], self.input[2]]
    }
}

/// An image that could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Name of the item, as [`Dataset::item`](crate::Dataset::item) gives it.
    pub name: String,
    /// Why it could not be loaded; one line that names the file.
    pub reason: String,
}
