#!/usr/bin/env bash
# Runs the unsafe code that any CPU can run under Miri: the pool of threads with several schedules, buffers, and the packers
# and portable kernels at the sizes that `cfg!(miri)` leaves. Needs a nightly toolchain with the components miri and rust-src.
#
#     tools/miri.sh [SEEDS]      schedules that the pool is tried with: 16
set -euo pipefail
cd "$(dirname "$0")/.."

# Of its own: Miri's builds are of no use to others, and need no lock.
export CARGO_TARGET_DIR=target/miri
# Tests ask for the clock and the number of processors.
flags="-Zmiri-disable-isolation"
miri() { cargo +nightly miri test --quiet "$@"; }

MIRIFLAGS="$flags -Zmiri-many-seeds=0..${1:-16}" miri -p dyconv-kernels --lib -- threads::
MIRIFLAGS=$flags miri -p dyconv-simd --lib
MIRIFLAGS=$flags miri -p dyconv-kernels --test miri
