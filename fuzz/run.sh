#!/usr/bin/env bash
# Builds the fuzz targets with a stable toolchain and runs each for so many seconds, two at a time: fuzz/run.sh SECONDS [TARGET…]
# With 0 seconds they are only built.
# A finding stops it and leaves the input in fuzz/artifacts/.
set -euo pipefail
cd "$(dirname "$0")"

export seconds=${1:?"SECONDS that each target runs"}
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(model graph network sessions image coco tar packed npy onnx state_dict)

# Counters on every edge, as `cargo fuzz` sets them; without AddressSanitizer, which needs a nightly toolchain. Kernels for
# AVX-512 would double the time to compile.
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="--cfg fuzzing --cfg dyconv_no_avx512 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=8"
cargo build --quiet --release --bins --target "$host"
export built=target/$host/release
[ "$seconds" -gt 0 ] || exit 0

fuzz() {
    mkdir -p "corpus/$1"
    log=artifacts/$1.log
    # A slow input is a finding, too, and so is one that takes more memory than a model of this size can need.
    if ! "$built/$1" "corpus/$1" "seeds/$1" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 \
        -max_len=65536 -seed=1 -artifact_prefix="artifacts/$1-" -print_final_stats=1 >"$log" 2>&1; then
        tail -n 60 "$log" >&2
        echo "fuzz: $1 failed; its input is in fuzz/artifacts/" >&2
        # Tells xargs to start no more.
        return 255
    fi
    echo "$1: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions"
}
export -f fuzz

mkdir -p artifacts
# Some targets write files to read them; in memory that takes half the time.
[ ! -w /dev/shm ] || export TMPDIR=/dev/shm
DYCONV_FUZZ_SEEDS=seeds "$built/model" -runs=0 2>artifacts/seeds.log
printf '%s\n' "${targets[@]}" | xargs -P 2 -I{} bash -c 'set -u; fuzz {}'
