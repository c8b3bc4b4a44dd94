//! The threads: from the index of an image to its place in a batch.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Batch, Broken};
use crate::augment::Augment;
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::preprocessing::Transform;
use crate::split::Split;

/// What every thread knows.
pub(super) struct Recipe {
    pub dataset: Arc<Dataset>,
    pub split: Split,
    pub pre: Transform,
    pub augment: Option<Augment>,
    pub seed: u64,
    pub epoch: usize,
    pub stop: AtomicBool,
}

/// One image to be loaded into a place of a batch.
pub(super) struct Job {
    pub slot: Arc<Slot>,
    pub place: usize,
}

/// A batch that is being filled.
pub(super) struct Slot {
    pub indices: Vec<usize>,
    pub filling: Mutex<Filling>,
    pub full: Condvar,
}

pub(super) struct Filling {
    pub batch: Batch,
    /// Places of images that could not be loaded.
    pub broken: Vec<(usize, Broken)>,
    /// How many images are still to be loaded.
    pub missing: usize,
}

impl Slot {
    /// The guarded content. Whoever panics with the lock in hand leaves nothing half done.
    pub fn lock(&self) -> MutexGuard<'_, Filling> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recipe {
    /// Loads images until the queue is closed.
    pub fn work(&self, jobs: &Mutex<Receiver<Job>>) {
        while let Ok(Job { slot, place }) = { jobs.lock().unwrap_or_else(PoisonError::into_inner).recv() } {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let index = slot.indices[place];
            let loaded = catch_unwind(AssertUnwindSafe(|| self.load(index)))
                .unwrap_or_else(|_| Err(DataError::new("loader", "gave up: a mistake in dyconv")));
            let mut filling = slot.lock();
            match loaded {
                Ok(input) => filling.batch.images[place * input.len()..][..input.len()].copy_from_slice(&input),
                Err(error) => {
                    let name = self.dataset.item(self.split, index).1;
                    filling.broken.push((place, Broken { name, reason: error.to_string() }));
                }
            }
            filling.missing -= 1;
            if filling.missing == 0 {
                self.finish(&mut filling);
                slot.full.notify_one();
            }
        }
    }

    /// Takes out what is broken and mixes the rest.
    fn finish(&self, Filling { batch, broken, .. }: &mut Filling) {
        broken.sort_by_key(|(place, _)| *place);
        batch.remove(broken.iter().map(|(place, _)| *place));
        let Some(augment) = self.augment else { return };
        let mut rng = generator(self.seed, self.epoch, Stream::Batch(batch.number));
        let shape = batch.shape();
        let share = augment.mix(&mut batch.images, shape, &mut rng);
        if share < 1.0 {
            batch.second.rotate_right(1);
            batch.lambda.fill(share);
        }
    }

    /// One input, `[channels, height, width]`.
    fn load(&self, index: usize) -> Result<Vec<f32>, DataError> {
        let image = self.dataset.load(self.split, index)?;
        match self.augment {
            Some(augment) => {
                augment.apply(&image, &self.pre, &mut generator(self.seed, self.epoch, Stream::Image(index)))
            }
            None => Ok(self.pre.evaluate(&image)),
        }
    }
}

/// What a random generator is for.
pub(super) enum Stream {
    Order,
    Image(usize),
    Batch(usize),
}

/// The generator of one stream of one epoch: all that it depends on is its key.
pub(super) fn generator(seed: u64, epoch: usize, stream: Stream) -> ChaCha8Rng {
    let (kind, index) = match stream {
        Stream::Order => (0, 0),
        Stream::Image(index) => (1, index as u64),
        Stream::Batch(number) => (2, number as u64),
    };
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([seed, epoch as u64, kind, index]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}
