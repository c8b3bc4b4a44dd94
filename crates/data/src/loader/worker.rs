//! The worker threads: they load images into their places in a batch.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Batch, Broken, Classes, Keypoints, Targets};
use crate::augment::{Augment, PoseAugment, evaluated, seen};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::heatmap::HeatMaps;
use crate::preprocessing::Transform;
use crate::split::Split;

/// A pass over a part of a data set: the data shared by all threads.
pub(super) struct EpochJob {
    pub dataset: Arc<Dataset>,
    pub split: Split,
    pub pre: Transform,
    pub kind: ItemKind,
    pub seed: u64,
    pub epoch: usize,
    pub stop: AtomicBool,
}

/// The kind of the items, and how each is prepared.
pub(super) enum ItemKind {
    /// An input with a class.
    Classes(Option<Augment>),
    /// An input around a person, with heat maps whose Gaussians have a σ of `sigma` cells.
    Keypoints { maps: HeatMaps, sigma: f64, augment: Option<PoseAugment> },
}

/// A loaded item.
struct Loaded {
    /// `[channels, height, width]`
    input: Vec<f32>,
    /// Heat maps and weights of a person.
    joints: Option<Keypoints>,
}

/// One image to be loaded into a place of a batch.
pub(super) struct ItemJob {
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
    /// Number of images that are still to be loaded.
    pub missing: usize,
}

impl Slot {
    /// The guarded content. A poisoned lock is harmless: no panic leaves it in an inconsistent state.
    pub fn lock(&self) -> MutexGuard<'_, Filling> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EpochJob {
    /// Loads images until the queue is closed.
    pub fn work(&self, jobs: &Mutex<Receiver<ItemJob>>) {
        while let Ok(job) = { jobs.lock().unwrap_or_else(PoisonError::into_inner).recv() } {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            self.fill(job);
        }
    }

    /// Loads one image, if one is queued.
    pub fn work_once(&self, jobs: &Mutex<Receiver<ItemJob>>) -> bool {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).try_recv();
        job.map(|job| self.fill(job)).is_ok()
    }

    /// Loads an image into its place.
    fn fill(&self, ItemJob { slot, place }: ItemJob) {
        let index = slot.indices[place];
        let loaded = catch_unwind(AssertUnwindSafe(|| self.load(index))).unwrap_or_else(|_| {
            Err(DataError::new(self.dataset.item(self.split, index).1, "gave up: a mistake in dyconv"))
        });
        let mut filling = slot.lock();
        match loaded {
            Ok(loaded) => loaded.store(&mut filling.batch, place),
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

    /// Removes broken images and mixes the rest.
    fn finish(&self, Filling { batch, broken, .. }: &mut Filling) {
        broken.sort_by_key(|(place, _)| *place);
        batch.remove(broken.iter().map(|(place, _)| *place));
        let (ItemKind::Classes(Some(augment)), Targets::Classes(classes)) = (&self.kind, &mut batch.targets) else {
            return;
        };
        let mut rng = generator(self.seed, self.epoch, Stream::Batch(batch.number));
        let [channels, height, width] = batch.input;
        let shape = [batch.indices.len(), channels, height, width];
        let share = augment.mix(&mut batch.images, shape, &mut rng);
        if share < 1.0 {
            classes.second.rotate_right(1);
            classes.lambda.fill(share);
        }
    }

    /// The targets of an empty batch of these items.
    pub fn targets(&self, indices: &[usize]) -> Targets {
        match (&self.kind, self.dataset.people()) {
            (ItemKind::Keypoints { maps, .. }, Some(people)) => {
                let joints = indices.len() * people.skeleton.joints.len();
                Targets::Keypoints(Keypoints { maps: vec![0.0; joints * maps.cells()], weights: vec![0.0; joints] })
            }
            _ => {
                let labels: Vec<usize> = indices.iter().map(|i| self.dataset.label(self.split, *i)).collect();
                let lambda = vec![1.0; labels.len()];
                Targets::Classes(Classes { second: labels.clone(), labels, lambda })
            }
        }
    }

    /// Loads one item.
    fn load(&self, index: usize) -> Result<Loaded, DataError> {
        let image = self.dataset.load(self.split, index, &self.pre.decode_options())?;
        let mut rng = generator(self.seed, self.epoch, Stream::Image(index));
        match &self.kind {
            ItemKind::Classes(Some(augment)) => {
                augment.apply(&image, &self.pre, &mut rng).map(|input| Loaded { input, joints: None })
            }
            ItemKind::Classes(None) => Ok(Loaded { input: self.pre.evaluate(&image), joints: None }),
            ItemKind::Keypoints { maps: sizes, sigma, augment } => {
                let people = self.dataset.people().expect("the loader was asked for joints");
                let person = self.dataset.person(self.split, index).expect("the loader was asked for joints");
                let skeleton = &people.skeleton;
                let (input, joints) = match augment {
                    Some(augment) => augment.apply(&image, person, skeleton, &self.pre, &mut rng),
                    None => {
                        let (input, crop) = evaluated(&image, person.bbox, &self.pre);
                        (input, seen(&person.joints, skeleton, crop, sizes.input))
                    }
                };
                let (mut maps, mut weights) = (vec![0.0; joints.len() * sizes.cells()], vec![0.0; joints.len()]);
                sizes.encode(&joints, *sigma, &mut maps, &mut weights);
                Ok(Loaded { input, joints: Some(Keypoints { maps, weights }) })
            }
        }
    }
}

impl Loaded {
    /// Stores the item in its place of a batch.
    fn store(self, batch: &mut Batch, place: usize) {
        let put = |to: &mut [f32], from: &[f32]| to[place * from.len()..][..from.len()].copy_from_slice(from);
        put(&mut batch.images, &self.input);
        if let (Targets::Keypoints(to), Some(from)) = (&mut batch.targets, &self.joints) {
            put(&mut to.maps, &from.maps);
            put(&mut to.weights, &from.weights);
        }
    }
}

/// The purpose of a random generator.
pub(super) enum Stream {
    Order,
    Image(usize),
    Batch(usize),
}

/// The generator of one stream of one epoch; it depends only on its key.
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
