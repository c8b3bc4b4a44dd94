//! A session does not allocate: counted by the global allocator of this test binary.

#[path = "it/common.rs"]
mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{every_op, values, weights};
use dyconv_engine::{Options, Plan, Precision, Session};
use dyconv_graph::Gate;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[allow(unsafe_code, reason = "a global allocator is an unsafe trait; this one only counts and passes on")]
// SAFETY: every call goes to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
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

#[test]
fn running_does_not_allocate() {
    let graph = every_op([3, 33, 31], Gate::Softmax);
    for precision in [Precision::F32, Precision::Bf16] {
        let options = Options { precision, ..Options::default() };
        let plan = Plan::with_options(&graph, &weights(&graph, 1), 1.0, options).unwrap();
        let mut session = Session::new(plan);
        let x = values(3 * 3 * 33 * 31, 1);
        let mut y = vec![0.0; 15];
        let before = ALLOCATIONS.with(Cell::get);
        assert!(before > 0, "the counter counts");
        session.run(&x[..x.len() / 3], 1, &mut y[..5]).unwrap();
        assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0, "a single sample");
        // The first batch brings the memory of its samples.
        session.run(&x, 3, &mut y).unwrap();
        let before = ALLOCATIONS.with(Cell::get);
        for _ in 0..3 {
            session.run(&x, 3, &mut y).unwrap();
            session.run(&x[..x.len() / 3 * 2], 2, &mut y[..10]).unwrap();
        }
        assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0, "batches no larger than before");
    }
}
