//! The options of a loader, and the batches that it yields.

use std::ops::Range;

use crate::error::DataError;

/// How batches are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Images per batch, at least 1; if several processes share the work, the total over all processes.
    pub batch: usize,
    /// Number of threads that load images; 0 counts as 1, and no more are started than images can be in flight. If the
    /// system refuses some, fewer are used: see [`Batches::note`](super::Batches::note). Has no effect on the result.
    pub threads: usize,
    /// Largest number of prefetched batches, in flight or ready; 0 counts as 1. Together with `batch` it bounds the
    /// memory.
    pub prefetch: usize,
    /// Seed of the order and of all augmentation.
    pub seed: u64,
    /// Whether the order is reshuffled every epoch; otherwise it is that of the data set.
    pub shuffle: bool,
    /// Whether an incomplete last batch is dropped.
    pub drop_last: bool,
    /// Largest number of broken images in an epoch; they are skipped. More are an error, and so are more than half of
    /// the epoch's images, whatever the limit. Every process counts its own.
    pub max_broken: usize,
    /// Rank of this process among those that share an epoch, zero-based.
    pub rank: usize,
    /// Number of processes that share an epoch; a divisor of `batch`.
    ///
    /// Each process takes a contiguous part of every batch; the concatenated parts of all ranks are the batch of a
    /// single process, bit for bit, except that mixup and CutMix stay within a part. Parts of a full batch are equal.
    /// Parts of an incomplete last batch differ by at most one image, the first ranks having more, and may be empty.
    /// Every rank yields every batch, even if its part is empty or all its images are broken, so that all take the same
    /// number of steps.
    pub world_size: usize,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        Self {
            batch: 32,
            threads: 1,
            prefetch: 2,
            seed: 0,
            shuffle: false,
            drop_last: false,
            max_broken: 0,
            rank: 0,
            world_size: 1,
        }
    }
}

impl LoaderOptions {
    /// Number of batches in an epoch of `images` images.
    pub fn batches(&self, images: usize) -> usize {
        let batch = self.batch.max(1);
        if self.drop_last { images / batch } else { images.div_ceil(batch) }
    }

    pub(super) fn check(&self) -> Result<(), DataError> {
        let Self { batch, rank, world_size, .. } = *self;
        if batch == 0 {
            return Err(DataError::new("batch", "0, expected at least one image"));
        }
        if rank >= world_size {
            return Err(DataError::new(
                "rank",
                format!("{rank} of {world_size} processes, expected 0 to world_size - 1"),
            ));
        }
        if batch % world_size > 0 {
            let message = format!("{batch} images cannot be shared equally by {world_size} processes");
            return Err(DataError::new("batch", message));
        }
        Ok(())
    }

    /// Positions in the epoch of the images of batch `number` that this process loads.
    pub(super) fn part(&self, number: usize, images: usize) -> Range<usize> {
        let start = number * self.batch;
        let len = self.batch.min(images - start);
        let (each, more) = (len / self.world_size, len % self.world_size);
        let start = start + self.rank * each + self.rank.min(more);
        start..start + each + usize::from(self.rank < more)
    }
}

/// Inputs of a network with their targets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// Position of this batch in the epoch, zero-based.
    pub number: usize,
    /// Inputs, NCHW: `shape()` elements.
    pub images: Vec<f32>,
    /// Targets of the inputs.
    pub targets: Targets,
    /// Index of every item within its part of the data set.
    pub indices: Vec<usize>,
    /// Channels, height and width of one input.
    pub input: [usize; 3],
}

/// The targets of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// For images.
    Classes(Classes),
    /// For persons.
    Keypoints(Keypoints),
}

impl Default for Targets {
    fn default() -> Self {
        Self::Classes(Classes::default())
    }
}

/// Classes of the images of a batch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Classes {
    /// Class of every image.
    pub labels: Vec<usize>,
    /// Class of the image that was mixed into every image by mixup or CutMix; if nothing was mixed, the same as
    /// `labels`.
    ///
    /// The target is λ · `labels` + (1 − λ) · `second`, each as a one-hot vector.
    pub second: Vec<usize>,
    /// λ of every image: the weight of its own class, 1 if nothing was mixed.
    pub lambda: Vec<f32>,
}

/// Keypoints of the persons of a batch as heat maps.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Keypoints {
    /// `[N, joints, height, width]`, contiguous.
    pub maps: Vec<f32>,
    /// `[N, joints]`: 1, or 0 for a joint without a target.
    pub weights: Vec<f32>,
}

impl Batch {
    /// Removes the images at `places`, which are ascending.
    pub(super) fn remove(&mut self, places: impl DoubleEndedIterator<Item = usize>) {
        let elements: usize = self.input.iter().product();
        for place in places.rev() {
            let items = self.indices.len();
            self.images.drain(place * elements..(place + 1) * elements);
            match &mut self.targets {
                Targets::Classes(Classes { labels, second, lambda }) => {
                    labels.remove(place);
                    second.remove(place);
                    lambda.remove(place);
                }
                Targets::Keypoints(Keypoints { maps, weights }) => {
                    for values in [maps, weights] {
                        let each = values.len() / items;
                        values.drain(place * each..(place + 1) * each);
                    }
                }
            }
            self.indices.remove(place);
        }
    }

    /// The classes.
    ///
    /// # Panics
    /// If the batch holds persons.
    pub fn classes(&self) -> &Classes {
        match &self.targets {
            Targets::Classes(classes) => classes,
            Targets::Keypoints(_) => panic!("a batch of persons has no classes"),
        }
    }

    /// The joints.
    ///
    /// # Panics
    /// If the batch holds images with classes.
    pub fn joints(&self) -> &Keypoints {
        match &self.targets {
            Targets::Keypoints(joints) => joints,
            Targets::Classes(_) => panic!("a batch of images with classes has no joints"),
        }
    }

    /// Number of images: the batch size or this process's part of it, less in a last batch or if images are broken.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether there are no images. A loader yields such a batch only if several processes share the work.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Number of images, channels, height, width.
    pub fn shape(&self) -> [usize; 4] {
        [self.len(), self.input[0], self.input[1], self.input[2]]
    }
}

/// An image that could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Name of the item, as returned by [`Dataset::item`](crate::Dataset::item).
    pub name: String,
    /// Why it could not be loaded; one line that names the file.
    pub reason: String,
}
