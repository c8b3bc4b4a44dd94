.PHONY: check gate gpu test

# The daily loop: format, structure, lint, tests.
check:
	cargo fmt --all --check
	python3 tools/check_structure.py
	cargo clippy --workspace --all-targets -- -D warnings
	cargo test --workspace

# What a change must pass: all of it, other targets, docs, Miri and fuzzing included.
gate:
	.ci/run

# The features for GPUs, which CI leaves out. CUDA's runtime fetches a compiler of its own when it is built, so it is not here.
gpu:
	cargo clippy --workspace --all-targets --features wgpu -- -D warnings

test:
	cargo test --workspace
