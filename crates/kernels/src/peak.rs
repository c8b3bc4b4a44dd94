//! Measures the peak arithmetic and memory throughput of this machine, with which the run time of a network is
//! compared.

use std::hint::black_box;
use std::time::Instant;

use dyconv_simd::{Buffer, LANES, Lanes, dispatch};

use crate::exec::Exec;
use crate::threads::share;

/// Rounds of multiply-adds per attempt: some tens of microseconds.
const ROUNDS: usize = 16 << 10;
/// Number of attempts; the best counts.
const ATTEMPTS: usize = 300;
/// Minimum number of attempts to read memory, and minimum number of bytes to read in all.
const READ_ATTEMPTS: usize = 8;
const READ_BYTES: usize = 512 << 20;
/// Sums in flight while memory is read.
const READ_SUMS: usize = 4;

/// f32 multiply-adds per second of all threads together, with sums that stay in registers.
pub fn peak_madds(exec: Exec<'_>) -> f64 {
    let parts = exec.pool.threads();
    let seconds = best(ATTEMPTS, || {
        exec.pool.run(parts, &|_| {
            let rounds = ROUNDS;
            dispatch!(exec.isa, multiply_add(rounds: usize));
        });
    });
    (parts * ROUNDS * sums(exec.isa.tile_rows()[0]) * LANES) as f64 / seconds
}

/// Bytes per second that all threads together read by going over `bytes` bytes again and again, from whichever memory
/// or cache holds a working set of this size.
pub fn peak_read(exec: Exec<'_>, bytes: usize) -> f64 {
    let block = READ_SUMS * LANES;
    let blocks = (bytes / size_of::<f32>()).div_ceil(block).max(1);
    let memory = Buffer::<f32>::zeroed(blocks * block);
    let parts = exec.pool.threads().min(blocks);
    let seconds = best(READ_ATTEMPTS.max(READ_BYTES / (memory.len() * 4)), || {
        exec.pool.run(parts, &|part| {
            let share = share(blocks, part, parts);
            let values = &memory[share.start * block..share.end * block];
            dispatch!(exec.isa, read(values: &[f32]));
        });
    });
    (memory.len() * size_of::<f32>()) as f64 / seconds
}

/// Seconds of the fastest of `attempts` attempts.
fn best(attempts: usize, mut attempt: impl FnMut()) -> f64 {
    let mut time = || {
        let start = Instant::now();
        attempt();
        start.elapsed().as_secs_f64()
    };
    (0..attempts).map(|_| time()).fold(f64::INFINITY, f64::min)
}

/// Number of sums in flight that hides the latency of a multiply-add and fits into registers, given the rows of a tile.
const fn sums(rows: usize) -> usize {
    match rows {
        12.. => 12,
        6.. => 6,
        _ => 2,
    }
}

#[inline(always)]
fn multiply_add<L: Lanes>(l: L, rounds: usize) {
    match sums(L::TILE_ROWS[0]) {
        12 => chains::<L, 12>(l, rounds),
        6 => chains::<L, 6>(l, rounds),
        _ => chains::<L, 2>(l, rounds),
    }
}

/// N independent chains of multiply-adds.
#[inline(always)]
fn chains<L: Lanes, const N: usize>(l: L, rounds: usize) {
    let (a, b) = (l.splat(black_box(0.5)), l.splat(black_box(1.0)));
    let mut sums = [b; N];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = l.mul_add(*sum, a, b);
        }
    }
    for sum in sums {
        black_box(l.sum(sum));
    }
}

/// Sums all values. The length of `values` must be a multiple of a block.
#[inline(always)]
fn read<L: Lanes>(l: L, values: &[f32]) {
    let mut sums = [l.splat(0.0); READ_SUMS];
    for block in values.as_chunks::<{ READ_SUMS * LANES }>().0 {
        for (sum, v) in sums.iter_mut().zip(block.as_chunks::<LANES>().0) {
            *sum = l.add(*sum, l.load(v));
        }
    }
    for sum in sums {
        black_box(l.sum(sum));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::Pool;
    use dyconv_simd::Isa;

    #[test]
    fn every_instruction_set_and_number_of_threads_gives_a_rate() {
        for isa in Isa::available() {
            for threads in [1, 2] {
                let pool = Pool::new(threads);
                let exec = Exec { isa, pool: &pool };
                assert!(peak_madds(exec).is_normal(), "{}", isa.name());
                assert!(peak_read(exec, 1 << 20).is_normal() && peak_read(exec, 0).is_normal(), "{}", isa.name());
            }
        }
    }
}
