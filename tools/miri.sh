#!/usr/bin/env bash
# Runs the unsafe code that every CPU can run under Miri: packers, portable kernels, buffers, and the pool of threads with many
# schedules. Needs a nightly toolchain with the components miri and rust-src.
#
#     tools/miri.sh [SEEDS]      schedules that the pool is tried with: 8
set -euo pipefail
cd "$(dirname "$0")/.."

# Of its own: Miri's builds are of no use to others, and need no lock.
export CARGO_TARGET_DIR=target/miri
miri() { cargo +nightly miri test --quiet -p dyconv-kernels --test small -- "$@"; }

miri --skip every_part_runs_once_whoever_calls
MIRIFLAGS="-Zmiri-many-seeds=0..${1:-8}" miri every_part_runs_once_whoever_calls
