"""Checks ONNX files that dyconv wrote: onnx's full checker, and onnxruntime's answers against expected ones.

    python check_exports.py FOLDER [--batches 1,3,8] [--tolerance 1e-4]

Needs numpy, onnx and onnxruntime only. FOLDER holds, for each file NAME.onnx, NAME.in.npy and NAME.out.npy with at least as many
samples as the largest batch; one file of a network may be named NAME.FORM.onnx, and then shares NAME.in.npy and NAME.out.npy with
its other forms. A file whose batch is fixed is run on as many samples at a time as it takes. Fails if a check fails, or if
there is no file.
"""
import argparse
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime


def expected_of(path):
    """The arrays beside the file: of its own name, or of the part before the form."""
    stem = path.name.removesuffix(".onnx")
    for name in (stem, stem.rpartition(".")[0]):
        if name and (path.parent / f"{name}.in.npy").exists():
            return np.load(path.parent / f"{name}.in.npy"), np.load(path.parent / f"{name}.out.npy")
    raise SystemExit(f"{path}: {stem}.in.npy is missing")


def check(path, batches, tolerance):
    model = onnx.load(path)
    onnx.checker.check_model(str(path), full_check=True)
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    foreign = sorted({o.domain for o in model.opset_import} - {"", "ai.onnx"})
    if (opset, model.ir_version) != (17, 8) or foreign:
        raise AssertionError(f"opset {opset}, IR {model.ir_version}, further domains {foreign}; expected opset 17, IR 8, none")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    x, y = expected_of(path)
    fed = session.get_inputs()[0]
    fixed = fed.shape[0] if isinstance(fed.shape[0], int) else None
    texts = []
    for batch in [fixed] if fixed else batches:
        if batch > len(x):
            raise AssertionError(f"{len(x)} samples are too few for batch {batch}")
        starts = range(0, len(x) - batch + 1, batch)
        answers = np.concatenate([session.run(None, {fed.name: x[start:start + batch]})[0] for start in starts])
        expected = y[: len(answers)]
        if answers.shape != expected.shape:
            raise AssertionError(f"batch {batch}: shape {answers.shape}, expected {expected.shape}")
        error = float(np.abs(answers - expected).max() / np.abs(expected).max())
        texts.append(f"batch {batch}: {error:.1e}")
        if not error <= tolerance:  # also fails for NaN
            raise AssertionError(f"batch {batch}: differs by {error:.1e} of the largest answer, more than {tolerance:g}")
    return f"opset {opset}, IR {model.ir_version}, {len(model.graph.node)} nodes; " + ", ".join(texts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--batches", default="1,3,8")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    arguments = parser.parse_args()
    files = sorted(arguments.folder.glob("*.onnx"))
    if not files:
        sys.exit(f"no .onnx file in {arguments.folder}")
    failures = 0
    for path in files:
        try:
            print(f"{path.name}: {check(path, [int(b) for b in arguments.batches.split(',')], arguments.tolerance)}")
        except Exception as error:  # every file is reported
            failures += 1
            print(f"{path.name}: FAILED: {str(error).strip().splitlines()[0]}")
    print(f"{len(files)} files, {failures} failures")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
