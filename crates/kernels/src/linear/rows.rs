//! Code shared by the linear layers of every storage: distribution of the rows over threads, and the end of a row.
#![allow(unsafe_code, reason = "threads write parts of one output")]

use std::ops::Range;

use dyconv_simd::{LANES, Lanes};

use crate::activation::activated;
use crate::exec::Exec;
use crate::run::Epilogue;
use crate::threads::share;

/// Minimum number of weights for which the rows are distributed over threads.
pub(super) const WORTH_SHARING: usize = 16 << 10;

/// Number of rows that share one pass over the input.
pub(super) const ROWS: usize = 4;

/// Divides the outputs among the threads if there are enough weights; `task` computes the outputs of a range of rows.
pub(super) fn shared(
    exec: Exec<'_>,
    weights: usize,
    epilogue: Epilogue<'_>,
    y: &mut [f32],
    task: &(impl Fn(Range<usize>, Epilogue<'_>, &mut [f32]) + Sync),
) {
    let outputs = y.len();
    let parts = if weights < WORTH_SHARING { 1 } else { exec.pool.threads().min(outputs.div_ceil(LANES)) };
    let out = Out(y.as_mut_ptr());
    exec.pool.run(parts, &|part| {
        let out = &out;
        let blocks = share(outputs.div_ceil(LANES), part, parts);
        let (first, end) = (blocks.start * LANES, outputs.min(blocks.end * LANES));
        // SAFETY: rows `first..end` are outputs, and belong to this part alone.
        let y = unsafe { std::slice::from_raw_parts_mut(out.0.add(first), end - first) };
        let bias = if epilogue.bias.is_empty() { &[] } else { &epilogue.bias[first..end] };
        task(first..end, Epilogue { bias, ..epilogue }, y);
    });
}

/// An output that several threads write.
struct Out(*mut f32);

// SAFETY: each thread writes its own rows.
unsafe impl Sync for Out {}

#[inline(always)]
pub(super) fn finish<L: Lanes>(l: L, epilogue: Epilogue<'_>, y: &mut [f32]) {
    for (i, to) in y.chunks_mut(LANES).enumerate() {
        let mut v = l.load_partial(to);
        if !epilogue.bias.is_empty() {
            v = l.add(v, l.load_partial(&epilogue.bias[i * LANES..][..to.len()]));
        }
        l.store_partial(activated(l, epilogue.activation, v), to);
    }
}
