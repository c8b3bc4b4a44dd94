//! A session does not allocate on any of its threads. The global allocator of this test binary counts allocations, so
//! the binary has only this test.

#[path = "it/common.rs"]
mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use common::{every_op, values, weights};
use dyconv_engine::{Options, Plan, Pool, Precision, Session};
use dyconv_graph::Gate;

/// Allocations of all threads of the process.
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[allow(unsafe_code, reason = "a global allocator is an unsafe trait; this one only counts and passes on")]
// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; the memory came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The minimum number of allocations over three runs of `work`. The test runner's own thread may wake up and allocate
/// once; a session that allocates does so every time.
fn allocations(mut work: impl FnMut()) -> usize {
    let count = |()| {
        let before = ALLOCATIONS.load(Ordering::SeqCst);
        work();
        ALLOCATIONS.load(Ordering::SeqCst) - before
    };
    [(); 3].map(count).into_iter().min().unwrap()
}

/// A pool whose threads have all started: what a thread allocates when it starts is not counted.
fn begun_pool(threads: usize) -> Arc<Pool> {
    let pool = Pool::new(threads);
    let all = Barrier::new(pool.threads());
    pool.run(pool.threads(), &|_| {
        all.wait();
    });
    Arc::new(pool)
}

#[test]
fn running_does_not_allocate_on_any_thread() {
    let graph = every_op([3, 33, 31], Gate::Softmax);
    let x = values(3 * 3 * 33 * 31, 1);
    let mut y = vec![0.0; 15];
    for threads in [1, 3] {
        let pool = begun_pool(threads);
        assert_eq!(
            allocations(|| pool.run(8, &|part| drop(std::hint::black_box(vec![part])))),
            8,
            "the counter counts"
        );
        for precision in [Precision::F32, Precision::Bf16] {
            let options = Options { precision, ..Options::default() };
            let plan = Arc::new(Plan::with_options(&graph, &weights(&graph, 1), 1.0, options).unwrap());
            let new = || Session::with_pool(Arc::clone(&plan), Arc::clone(&pool));
            let mut fresh = [new(), new(), new()].into_iter();
            let first = allocations(|| fresh.next().unwrap().run(&x[..x.len() / 3], 1, &mut y[..5]).unwrap());
            assert_eq!(first, 0, "the first single sample, {threads} threads, {precision:?}");
            let mut session = new();
            // The first batch allocates the memory of its samples.
            session.run(&x, 3, &mut y).unwrap();
            let again = allocations(|| {
                for _ in 0..3 {
                    session.run(&x, 3, &mut y).unwrap();
                    session.run(&x[..x.len() / 3 * 2], 2, &mut y[..10]).unwrap();
                }
            });
            assert_eq!(again, 0, "batches no larger than before, {threads} threads, {precision:?}");
        }
    }
}
