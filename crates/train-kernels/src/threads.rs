//! The threads of training: rayon's global pool, which Burn shares.
//!
//! rayon starts all its threads on first use and panics if the system refuses one. So the threads are started here, as
//! many as possible, and wait until they are handed to rayon.

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

use dyconv_kernels::Pool;
use rayon::{ThreadBuilder, ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// Starts the threads of training, unless they are already running: as many as the environment variable
/// `RAYON_NUM_THREADS` says, or one per CPU, or fewer if the system refuses more. If it refuses all, the caller's
/// thread works alone. Returns their number; the results do not depend on it.
pub fn start_threads() -> usize {
    static STARTED: OnceLock<usize> = OnceLock::new();
    *STARTED.get_or_init(|| {
        let threads = waiting(wanted_threads(), &mut |work| std::thread::Builder::new().spawn(work).map(drop));
        let number = threads.len().max(1);
        match build(threads, true) {
            Ok(_) => number,
            // Another part of the program has started the pool.
            Err(_) => rayon::current_num_threads(),
        }
    })
}

/// Number of threads that [`start_threads`] requests from the system.
pub fn wanted_threads() -> usize {
    let set = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.trim().parse().ok()).filter(|n| *n > 0);
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    set.unwrap_or_else(processors).min(Pool::MAX_THREADS)
}

type Work = Box<dyn FnOnce() + Send>;

/// Starts up to `wanted` threads, each of which waits for its part of a pool.
fn waiting(wanted: usize, spawn: &mut dyn FnMut(Work) -> io::Result<()>) -> Vec<Sender<ThreadBuilder>> {
    let start = |_| {
        let (sender, receiver) = channel::<ThreadBuilder>();
        // A thread that is not needed exits when its channel is closed.
        let work = move || receiver.recv().map_or((), ThreadBuilder::run);
        spawn(Box::new(work)).ok().map(|()| sender)
    };
    (0..wanted).map_while(start).collect()
}

/// Builds a pool of these threads: the global one, or a separate one.
fn build(threads: Vec<Sender<ThreadBuilder>>, global: bool) -> Result<Option<ThreadPool>, ThreadPoolBuildError> {
    let mut threads = threads.into_iter();
    let mut builder = ThreadPoolBuilder::new().num_threads(threads.len().max(1));
    if threads.len() == 0 {
        builder = builder.use_current_thread();
    }
    let builder = builder.spawn_handler(move |thread| {
        let next = threads.next().ok_or(io::ErrorKind::WouldBlock)?;
        next.send(thread).map_err(|_| io::ErrorKind::BrokenPipe.into())
    });
    if global { builder.build_global().map(|()| None) } else { builder.build().map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    /// A sum computed on a pool for which the system grants `given` threads.
    fn sum_with(given: usize) -> (usize, u64) {
        let mut left = given;
        let threads = waiting(5, &mut |work| {
            left = left.checked_sub(1).ok_or(io::ErrorKind::WouldBlock)?;
            std::thread::Builder::new().spawn(work).map(drop)
        });
        let pool = build(threads, false).unwrap().unwrap();
        (pool.current_num_threads(), pool.install(|| (0..1000u64).into_par_iter().sum()))
    }

    #[test]
    fn refused_threads_make_the_pool_smaller() {
        for (given, threads) in [(9, 5), (5, 5), (2, 2), (1, 1), (0, 1)] {
            // On a separate thread: if none is granted, the caller's thread becomes one of the pool for good.
            let found = std::thread::spawn(move || sum_with(given)).join().unwrap();
            assert_eq!(found, (threads, 499_500), "{given} threads");
        }
    }

    #[test]
    fn threads_that_no_pool_takes_end() {
        let (done, ended) = channel();
        drop(waiting(3, &mut |work| {
            let done = done.clone();
            let work = move || {
                work();
                done.send(()).unwrap();
            };
            std::thread::Builder::new().spawn(work).map(drop)
        }));
        drop(done);
        assert_eq!(ended.iter().count(), 3);
    }

    #[test]
    fn the_global_pool_is_started_once() {
        let threads = start_threads();
        assert_eq!((threads, start_threads()), (rayon::current_num_threads(), threads));
    }
}
