//! A thread pool that forks and joins in well under a microsecond.
//!
//! ```text
//! run:     publish the task, tickets = number of parts; draw tickets like everybody else; wait until all parts are done
//! worker:  spin while there is no ticket, then sleep; draw a ticket, run that part, count it as done
//! ```
//!
//! 1. A part belongs to the thread that draws its ticket. The caller therefore never waits for a worker that has not
//!    started: it does the work of a sleeping or preempted worker itself.
//! 2. A caller that finds the pool busy with the task of another caller runs all parts itself, so sessions that share a
//!    pool never wait for each other.
//! 3. The result must not depend on which thread runs a part; the tasks must ensure that. Therefore a pool may have
//!    fewer threads than requested, if the system refuses to start more.
#![allow(unsafe_code, reason = "hands a borrowed task to other threads and waits for them")]

use std::any::Any;
use std::cell::UnsafeCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, Thread};

/// Rounds that a worker spins for the next task before it sleeps: about 0.1 ms.
const SPINS_BEFORE_SLEEP: usize = 3_000;

/// Rounds that the caller spins for the last parts before it yields its CPU.
const SPINS_BEFORE_YIELD: usize = 10_000;

type Task = dyn Fn(usize) + Sync;

/// A pool of threads that wait for work.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held by the caller whose task is running.
    busy: AtomicBool,
}

struct Shared {
    /// The current task; valid while a drawn ticket is not counted as done.
    task: UnsafeCell<Option<*const Task>>,
    /// Number of parts that nobody has started.
    tickets: Line<AtomicUsize>,
    /// Number of parts that are done.
    done: Line<AtomicUsize>,
    closed: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Whether each worker sleeps, and how to wake it.
    asleep: Vec<AtomicBool>,
    sleepers: Mutex<Vec<Option<Thread>>>,
}

/// A value with cache lines of its own.
#[repr(align(128))]
struct Line<T>(T);

// SAFETY: `task` is written only by the owner of `busy` while no ticket is out, and read only by threads that hold a
// ticket; the tickets' release and acquire order the two. Everything else is shared by atomics and locks.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is used only while the task it points to is borrowed by `run`.
unsafe impl Send for Shared {}

impl Shared {
    /// Takes a part that nobody has started.
    fn draw(&self) -> Option<usize> {
        let mut left = self.tickets.0.load(Ordering::Acquire);
        while left > 0 {
            match self.tickets.0.compare_exchange_weak(left, left - 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(left - 1),
                Err(now) => left = now,
            }
        }
        None
    }

    /// Runs a drawn part and counts it as done.
    fn perform(&self, part: usize) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: the ticket keeps the task in place until it is counted as done, below.
            let task = unsafe { (*self.task.get()).map(|t| &*t) };
            task.expect("a ticket belongs to a task")(part);
        }));
        if let Err(payload) = outcome {
            self.panic.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(payload);
        }
        self.done.0.fetch_add(1, Ordering::Release);
    }

    fn work(&self, me: usize) {
        let mut idle = 0;
        while !self.closed.load(Ordering::Acquire) {
            if let Some(part) = self.draw() {
                self.perform(part);
                idle = 0;
            } else if idle < SPINS_BEFORE_SLEEP {
                idle += 1;
                std::hint::spin_loop();
            } else {
                self.asleep[me].store(true, Ordering::SeqCst);
                fence(Ordering::SeqCst);
                while self.asleep[me].load(Ordering::SeqCst)
                    && self.tickets.0.load(Ordering::SeqCst) == 0
                    && !self.closed.load(Ordering::SeqCst)
                {
                    std::thread::park();
                }
                self.asleep[me].store(false, Ordering::SeqCst);
                idle = 0;
            }
        }
    }

    fn wake(&self) {
        fence(Ordering::SeqCst);
        for (me, asleep) in self.asleep.iter().enumerate() {
            if asleep.load(Ordering::SeqCst)
                && asleep.swap(false, Ordering::SeqCst)
                && let Some(thread) = &self.sleepers.lock().unwrap_or_else(|e| e.into_inner())[me]
            {
                thread.unpark();
            }
        }
    }
}

/// Starts a worker, given the worker's number, from 1 on, and its body.
type Spawn<'a> = &'a mut dyn FnMut(usize, Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>>;

impl Pool {
    /// Maximum number of threads of a pool.
    pub const MAX_THREADS: usize = 1024;

    /// Creates a pool of `threads` threads, including the caller; with one thread, everything runs on the caller. The
    /// pool has fewer threads if the system refuses to start more (because of a limit on processes or memory), and
    /// never more than [`MAX_THREADS`](Self::MAX_THREADS); [`threads`](Self::threads) returns the number.
    ///
    /// # Panics
    /// If `threads` is zero.
    pub fn new(threads: usize) -> Self {
        Self::with_spawn(threads, &mut |number, work| {
            std::thread::Builder::new().name(format!("dyconv-{number}")).spawn(work)
        })
    }

    /// Like [`new`](Self::new), with another way to start threads.
    fn with_spawn(threads: usize, spawn: Spawn<'_>) -> Self {
        assert!(threads > 0, "a pool has at least the thread of the caller");
        let threads = threads.min(Self::MAX_THREADS);
        let shared = Arc::new(Shared {
            task: UnsafeCell::new(None),
            tickets: Line(AtomicUsize::new(0)),
            done: Line(AtomicUsize::new(0)),
            closed: AtomicBool::new(false),
            panic: Mutex::new(None),
            asleep: (1..threads).map(|_| AtomicBool::new(false)).collect(),
            sleepers: Mutex::new(vec![None; threads - 1]),
        });
        let start = |me: usize| {
            let theirs = Arc::clone(&shared);
            // After the first failure no further thread is started.
            let handle = spawn(me + 1, Box::new(move || theirs.work(me))).ok()?;
            shared.sleepers.lock().unwrap_or_else(|e| e.into_inner())[me] = Some(handle.thread().clone());
            Some(handle)
        };
        let workers = (0..threads - 1).map_while(start).collect();
        Self { shared, workers, busy: AtomicBool::new(false) }
    }

    /// Number of threads, including the caller.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `task(part)` once for every part in `0..parts`, in any order, on any threads. Returns when all are done.
    ///
    /// # Panics
    /// If a part panics.
    pub fn run(&self, parts: usize, task: &(dyn Fn(usize) + Sync)) {
        if parts <= 1 || self.workers.is_empty() || self.busy.swap(true, Ordering::Acquire) {
            (0..parts).for_each(task);
            return;
        }
        let shared = &*self.shared;
        // SAFETY: the lifetime is forgotten, but this function does not return before every part is done.
        let task = unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync), *const Task>(task) };
        // SAFETY: `busy` makes this the only writer, and no ticket is out: the last run ended when all were done.
        unsafe { *shared.task.get() = Some(task) };
        shared.done.0.store(0, Ordering::Relaxed);
        shared.tickets.0.store(parts, Ordering::Release);
        shared.wake();
        while let Some(part) = shared.draw() {
            shared.perform(part);
        }
        let mut spins = 0;
        while shared.done.0.load(Ordering::Acquire) < parts {
            spins += 1;
            if spins < SPINS_BEFORE_YIELD { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        let panic = shared.panic.lock().unwrap_or_else(|e| e.into_inner()).take();
        self.busy.store(false, Ordering::Release);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.wake();
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches the panics of its parts.
            let _ = worker.join();
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({} threads)", self.threads())
    }
}

/// The share of part `part` of `parts` in `0..n`. All shares together cover the range; their lengths differ by at most
/// one.
#[inline(always)]
pub fn share(n: usize, part: usize, parts: usize) -> std::ops::Range<usize> {
    n * part / parts..n * (part + 1) / parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_part_runs_once() {
        for threads in 1..5 {
            let pool = Pool::new(threads);
            for parts in [0, 1, 2, 3, 7, 64] {
                let counts: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                for _ in 0..200 {
                    pool.run(parts, &|i| {
                        counts[i].fetch_add(1, Ordering::Relaxed);
                    });
                }
                assert!(counts.iter().all(|n| n.load(Ordering::Relaxed) == 200), "{threads} threads, {parts} parts");
            }
        }
    }

    #[test]
    fn sleepers_wake_and_callers_share() {
        let pool = Pool::new(3);
        let sum = AtomicUsize::new(0);
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(5));
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..300 {
                            pool.run(4, &|i| {
                                sum.fetch_add(i + 1, Ordering::Relaxed);
                            });
                        }
                    });
                }
            });
        }
        assert_eq!(sum.load(Ordering::Relaxed), 3 * 4 * 300 * 10);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_survives() {
        let pool = Pool::new(2);
        let fails = || pool.run(8, &|i| assert!(i != 5, "part five"));
        assert!(catch_unwind(AssertUnwindSafe(fails)).is_err());
        let sum = AtomicUsize::new(0);
        pool.run(8, &|i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.load(Ordering::Relaxed), 28);
    }

    #[test]
    fn a_refused_thread_makes_the_pool_smaller() {
        for given in 0..3 {
            let mut asked = 0;
            let pool = Pool::with_spawn(8, &mut |number, work| {
                asked += 1;
                if number > given {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                std::thread::Builder::new().spawn(work)
            });
            assert_eq!((pool.threads(), asked), (given + 1, given + 1), "nobody asks again after a refusal");
            let sum = AtomicUsize::new(0);
            for _ in 0..50 {
                pool.run(8, &|i| {
                    sum.fetch_add(i, Ordering::Relaxed);
                });
            }
            assert_eq!(sum.load(Ordering::Relaxed), 50 * 28);
        }
        let mut refuse = |_, _| Err(io::ErrorKind::OutOfMemory.into());
        assert_eq!(Pool::with_spawn(usize::MAX, &mut refuse).threads(), 1, "absurd numbers cost nothing");
    }

    #[test]
    fn shares_cover() {
        for (n, parts) in [(0, 3), (5, 2), (7, 7), (3, 5), (100, 3)] {
            let all: Vec<usize> = (0..parts).flat_map(|p| share(n, p, parts)).collect();
            assert_eq!(all, (0..n).collect::<Vec<_>>());
        }
    }
}
