//! Loads and prefetches batches of a part of a data set on a few threads.
//!
//! One pass is an iterator, [`Batches`]. The order of the images is fixed first, then cut into batches. Images are jobs
//! in one queue; every job has its own random generator, seeded by seed, epoch and the image's index, so it does not
//! matter which thread takes it. At most `prefetch` batches are in flight: another one is queued when one is returned.

mod batch;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rand::seq::SliceRandom;

pub use batch::{Batch, Broken, Classes, Keypoints, LoaderOptions, Targets};
use worker::{EpochJob, Filling, ItemJob, ItemKind, Slot, Stream, generator};

use crate::augment::{Augment, PoseAugment};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::heatmap::HeatMaps;
use crate::preprocessing::Transform;
use crate::split::Split;
use crate::words::thousands;

/// Creates the batches of epochs.
#[derive(Debug)]
pub struct Loader;

impl Loader {
    /// One pass over a part of a data set of classes. With `augment`, images are augmented for training, otherwise
    /// prepared as in evaluation. `epoch` is zero-based and determines, with the seed, order and augmentation.
    ///
    /// Invalid settings are reported instead of the first batch. Threads start when it is requested.
    pub fn epoch(
        dataset: &Arc<Dataset>,
        split: Split,
        pre: &Transform,
        augment: Option<Augment>,
        options: &LoaderOptions,
        epoch: usize,
    ) -> Batches {
        let wrong = augment.and_then(|augment| augment.validate().err());
        let persons = || DataError::new("data", "holds persons with joints, expected images with classes");
        let wrong = wrong.or_else(|| dataset.people().map(|_| persons()));
        Self::pass(dataset, split, pre, ItemKind::Classes(augment), wrong, options, epoch)
    }

    /// One pass over a part of a data set of persons: inputs around them, and heat maps of their joints. The Gaussians
    /// have a σ of `sigma` cells. With `augment`, crops are augmented for training. See [`Loader::epoch`].
    #[expect(clippy::too_many_arguments, reason = "those of `epoch`, and the heat maps")]
    pub fn joints(
        dataset: &Arc<Dataset>,
        split: Split,
        pre: &Transform,
        maps: HeatMaps,
        sigma: f64,
        augment: Option<PoseAugment>,
        options: &LoaderOptions,
        epoch: usize,
    ) -> Batches {
        let wrong = augment.and_then(|augment| augment.validate().err());
        let classes = || DataError::new("data", "holds images with classes, expected persons with joints");
        let wrong = wrong.or_else(|| dataset.people().is_none().then(classes));
        Self::pass(dataset, split, pre, ItemKind::Keypoints { maps, sigma, augment }, wrong, options, epoch)
    }

    fn pass(
        dataset: &Arc<Dataset>,
        split: Split,
        pre: &Transform,
        kind: ItemKind,
        wrong: Option<DataError>,
        options: &LoaderOptions,
        epoch: usize,
    ) -> Batches {
        let mut order: Vec<usize> = (0..dataset.len(split)).collect();
        if options.shuffle {
            order.shuffle(&mut generator(options.seed, epoch, Stream::Order));
        }
        let job = EpochJob {
            dataset: Arc::clone(dataset),
            split,
            pre: pre.clone(),
            kind,
            seed: options.seed,
            epoch,
            stop: AtomicBool::new(false),
        };
        Batches {
            batches: options.batches(order.len()),
            job: Arc::new(job),
            options: options.clone(),
            order,
            next: 0,
            under_way: VecDeque::new(),
            queue: None,
            spawn: |work| Builder::new().name("loader".to_owned()).spawn(work),
            threads: Vec::new(),
            note: None,
            broken: Vec::new(),
            waited: Duration::ZERO,
            wrong: options.check().err().or(wrong),
        }
    }
}

/// The batches of one pass, in order. See [`Loader::epoch`].
///
/// Images that cannot be loaded are removed from their batch and listed by [`Batches::broken`]; a batch without any
/// image is skipped, unless several processes share the work. After an error there are no more batches. Dropping the
/// iterator early stops the threads.
pub struct Batches {
    job: Arc<EpochJob>,
    options: LoaderOptions,
    order: Vec<usize>,
    batches: usize,
    /// Number of the next batch to be queued.
    next: usize,
    under_way: VecDeque<Arc<Slot>>,
    queue: Option<Queue>,
    spawn: Spawn,
    threads: Vec<JoinHandle<()>>,
    note: Option<String>,
    broken: Vec<Broken>,
    waited: Duration,
    wrong: Option<DataError>,
}

/// The sending and the receiving end of the job queue.
struct Queue {
    jobs: Sender<ItemJob>,
    work: Arc<Mutex<Receiver<ItemJob>>>,
}

/// Starts a thread; may fail.
type Spawn = fn(Box<dyn FnOnce() + Send>) -> std::io::Result<JoinHandle<()>>;

impl Batches {
    /// Total number of batches of the pass, including those that `starting_at` skips.
    pub fn batches(&self) -> usize {
        self.batches
    }

    /// Starts at batch `number`: earlier batches are not loaded, later ones are the same, bit for bit. For training
    /// that resumes within an epoch.
    pub fn starting_at(mut self, number: usize) -> Self {
        self.next = number;
        self
    }

    /// The images skipped so far, in the order of the epoch.
    pub fn broken(&self) -> &[Broken] {
        &self.broken
    }

    /// A message for the user, available after the first batch was requested: that the system refused threads, and how
    /// many load images.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The total time that `next` has waited for images.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Queues batches until `prefetch` are in flight.
    fn top_up(&mut self) {
        while self.under_way.len() < self.options.prefetch.max(1) && self.next < self.batches {
            let indices = self.order[self.options.part(self.next, self.order.len())].to_vec();
            let missing = indices.len();
            let batch = Batch {
                number: self.next,
                images: vec![0.0; missing * self.job.pre.elements()],
                targets: self.job.targets(&indices),
                indices: indices.clone(),
                input: self.job.pre.shape(),
            };
            let filling = Mutex::new(Filling { batch, broken: Vec::new(), missing });
            let slot = Arc::new(Slot { indices, filling, full: Condvar::new() });
            let queue = self.queue();
            for place in 0..missing {
                let item = ItemJob { slot: Arc::clone(&slot), place };
                queue.jobs.send(item).expect("the queue holds its other end");
            }
            self.under_way.push_back(slot);
            self.next += 1;
        }
    }

    /// The queue; its worker threads are started with it. If none can be started, [`Batches::take`] does their work.
    fn queue(&mut self) -> &Queue {
        if self.queue.is_none() {
            let (jobs, work) = channel();
            let work = Arc::new(Mutex::new(work));
            let most = self.options.batch.saturating_mul(self.options.prefetch.max(1));
            let wanted = self.options.threads.clamp(1, most.max(1));
            for started in 0..wanted {
                let (job, work) = (Arc::clone(&self.job), Arc::clone(&work));
                match (self.spawn)(Box::new(move || job.work(&work))) {
                    Ok(thread) => self.threads.push(thread),
                    Err(e) => {
                        let note = format!("{started} of {wanted} loader threads could be started: {e}");
                        self.note = Some(note);
                        break;
                    }
                }
            }
            self.queue = Some(Queue { jobs, work });
        }
        self.queue.as_ref().expect("it was made above")
    }

    /// Waits for a batch and returns it.
    fn take(&mut self, slot: &Slot) -> Batch {
        let started = Instant::now();
        if let (true, Some(queue)) = (self.threads.is_empty(), &self.queue) {
            while slot.lock().missing > 0 && self.job.work_once(&queue.work) {}
        }
        let filling = slot.full.wait_while(slot.lock(), |filling| filling.missing > 0);
        let mut filling = filling.unwrap_or_else(PoisonError::into_inner);
        self.waited += started.elapsed();
        self.broken.extend(filling.broken.drain(..).map(|(_, broken)| broken));
        std::mem::take(&mut filling.batch)
    }

    fn too_many_broken(&self) -> Option<DataError> {
        let (broken, all) = (self.broken.len(), self.order.len());
        let half = broken > all / 2;
        if broken <= self.options.max_broken && !half {
            return None;
        }
        const SHOWN: usize = 3;
        let mut list: Vec<&str> = self.broken.iter().take(SHOWN).map(|broken| broken.reason.as_str()).collect();
        if broken > SHOWN {
            list.push("…");
        }
        let (count, list) = (thousands(broken), list.join("; "));
        let images = if broken == 1 { "image" } else { "images" };
        let message = if broken > self.options.max_broken {
            let allowed = thousands(self.options.max_broken);
            format!("{count} broken {images}, but at most {allowed} are allowed: {list}")
        } else {
            format!("{count} of {} images broken, which is more than half: {list}", thousands(all))
        };
        Some(DataError::new(format!("{} images", self.job.split), message))
    }

    /// Stops the threads and drops the batches in flight.
    fn stop(&mut self) {
        self.job.stop.store(true, Ordering::Relaxed);
        self.next = self.batches;
        self.under_way.clear();
        self.queue = None;
        for thread in self.threads.drain(..) {
            // A thread reports images that it cannot load through the batch; its result is empty.
            let _ = thread.join();
        }
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(wrong) = self.wrong.take() {
            self.stop();
            return Some(Err(wrong));
        }
        loop {
            self.top_up();
            let Some(slot) = self.under_way.pop_front() else {
                self.stop();
                return None;
            };
            let batch = self.take(&slot);
            if let Some(error) = self.too_many_broken() {
                self.stop();
                return Some(Err(error));
            }
            self.top_up();
            if !batch.is_empty() || self.options.world_size > 1 {
                return Some(Ok(batch));
            }
        }
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.stop();
    }
}
