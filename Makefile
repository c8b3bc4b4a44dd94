.PHONY: check gate test

# The daily loop: format, structure, lint, tests.
check:
	cargo fmt --all --check
	python3 tools/check_structure.py
	cargo clippy --workspace --all-targets -- -D warnings
	cargo test --workspace

# What a change must pass: all of it, other targets, docs, Miri and fuzzing included.
gate:
	.ci/run

test:
	cargo test --workspace
