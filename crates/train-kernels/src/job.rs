//! Jobs that run in parallel and write to disjoint places of one buffer.

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use dyconv_simd::{Buffer, Isa};
use rayon::prelude::*;

use crate::gemm::{View, gemm_at};

/// A number of jobs that keeps the threads of common machines busy. It is a constant, because what a job computes must
/// not depend on the number of threads.
pub(super) const ENOUGH: usize = 16;

/// Scratch memory of one job; grown once, then reused by the jobs of a thread. Its initial contents are left over from
/// another job.
pub(super) struct Scratch {
    pub columns: Buffer<f32>,
    pub product: Buffer<f32>,
    pub kernel: Buffer<f32>,
    pub gradient: Buffer<f32>,
}

impl Scratch {
    const fn new() -> Self {
        Self { columns: Buffer::new(), product: Buffer::new(), kernel: Buffer::new(), gradient: Buffer::new() }
    }
}

thread_local! {
    /// The scratch memory of the last job of this thread.
    static SCRATCH: Cell<Scratch> = const { Cell::new(Scratch::new()) };
}

/// Runs jobs `0..jobs` on the available threads.
pub(super) fn run(jobs: usize, job: impl Fn(usize, &mut Scratch) + Sync) {
    (0..jobs).into_par_iter().with_max_len(1).for_each(|i| {
        let mut scratch = SCRATCH.replace(Scratch::new());
        job(i, &mut scratch);
        SCRATCH.set(scratch);
    });
}

/// A buffer to which jobs write in parallel, each at its own places.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

#[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
// SAFETY: access goes through unsafe functions whose callers promise disjoint places.
unsafe impl Sync for Shared<'_> {}
#[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
// SAFETY: as above.
unsafe impl Send for Shared<'_> {}

#[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
impl<'a> Shared<'a> {
    pub fn new(buffer: &'a mut [f32]) -> Self {
        Self { start: buffer.as_mut_ptr(), len: buffer.len(), borrow: PhantomData }
    }

    /// `len` values from `at` on.
    ///
    /// # Safety
    /// The values were written before, and while the result lives no other job may read or write them.
    #[allow(clippy::mut_from_ref, reason = "disjointness is what the caller promises")]
    pub unsafe fn slice(&self, at: usize, len: usize) -> &mut [f32] {
        assert!(at.checked_add(len).is_some_and(|end| end <= self.len), "a place inside the buffer");
        // SAFETY: in bounds by the assertion, alone by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), len) }
    }

    /// `len` values from `at` on that nobody has written yet; all must be written.
    ///
    /// # Safety
    /// As for [`Shared::slice`], but that they need not have been written.
    #[allow(clippy::mut_from_ref, reason = "disjointness is what the caller promises")]
    pub unsafe fn uninit(&self, at: usize, len: usize) -> &mut [MaybeUninit<f32>] {
        assert!(at.checked_add(len).is_some_and(|end| end <= self.len), "a place inside the buffer");
        // SAFETY: in bounds by the assertion, alone by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at).cast(), len) }
    }

    /// Like [`Shared::slice`], but writes zeros first: for values that nobody has written yet.
    ///
    /// # Safety
    /// As for [`Shared::slice`].
    #[allow(clippy::mut_from_ref, reason = "disjointness is what the caller promises")]
    pub unsafe fn zeroed(&self, at: usize, len: usize) -> &mut [f32] {
        assert!(at.checked_add(len).is_some_and(|end| end <= self.len), "a place inside the buffer");
        // SAFETY: in bounds by the assertion, alone by the caller's promise, initialised by the first line.
        unsafe {
            self.start.add(at).write_bytes(0, len);
            std::slice::from_raw_parts_mut(self.start.add(at), len)
        }
    }

    /// Copies `from` to the values from `at` on.
    ///
    /// # Safety
    /// As for [`Shared::slice`].
    pub unsafe fn copy(&self, at: usize, from: &[f32]) {
        assert!(at.checked_add(from.len()).is_some_and(|end| end <= self.len), "a place inside the buffer");
        // SAFETY: in bounds by the assertion, alone by the caller's promise; so `from` does not overlap.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.start.add(at), from.len()) }
    }

    /// Computes (+)= a · b into the matrix that starts at `at`, with `rows` rows, `row_step` apart.
    ///
    /// # Safety
    /// Meanwhile no other job may read or write the elements of that matrix.
    #[allow(clippy::too_many_arguments, reason = "a product, and where it goes")]
    pub unsafe fn gemm(
        &self,
        isa: Isa,
        at: usize,
        row_step: usize,
        size: [usize; 2],
        add: bool,
        a: View<'_>,
        b: View<'_>,
    ) {
        let [rows, columns] = size;
        assert!(rows > 0 && at + (rows - 1) * row_step + columns <= self.len, "a matrix inside the buffer");
        a.assert_rows(rows);
        b.assert_columns(columns);
        // SAFETY: in bounds by the assertions, alone by the caller's promise.
        unsafe { gemm_at(isa, self.start.add(at), row_step, add, a, b) }
    }
}

/// A buffer of `len` values, all of which `write` writes: large results need not be zeroed first.
///
/// # Safety
/// `write` must initialize all `len` values, and read none before.
#[allow(unsafe_code, reason = "results start uninitialised")]
pub(super) unsafe fn written<T>(len: usize, write: impl FnOnce(Shared<'_>) -> T) -> (Vec<f32>, T) {
    let mut buffer = Vec::<f32>::with_capacity(len);
    let also = write(Shared { start: buffer.as_mut_ptr(), len, borrow: PhantomData });
    // SAFETY: the capacity is `len`, and the caller promises that all of it was written.
    unsafe { buffer.set_len(len) };
    (buffer, also)
}

/// Adds `parts`, equally long pieces of `partial`, to `to` in order.
pub(super) fn sum_parts(to: &mut [f32], partial: &[f32]) {
    let whole = to.len();
    let piece = 1 << 14;
    to.par_chunks_mut(piece).enumerate().for_each(|(i, to)| {
        for (j, part) in partial.chunks_exact(whole).enumerate() {
            let part = &part[i * piece..][..to.len()];
            if j == 0 {
                to.copy_from_slice(part);
            } else {
                to.iter_mut().zip(part).for_each(|(t, p)| *t += p);
            }
        }
    });
}
