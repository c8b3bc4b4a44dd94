"""Checks exported networks: python check_exports.py FOLDER [--tolerance 1e-4]

FOLDER holds `exports.json`: a list of exports with the name of the network and its form, the ONNX file, the input, the answer
that dyconv gives, and the batches to try. Each file must pass onnx's checker with full shape inference, and onnxruntime must
give the same answer within the tolerance, relative to the largest value. Prints the largest difference of each export.
Needs numpy, onnx and onnxruntime.
"""
import argparse
import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("--tolerance", type=float, default=1e-4)
arguments = parser.parse_args()


def difference(export):
    """The largest difference over all batches; raises what onnx and onnxruntime raise."""
    path = str(arguments.folder / export["model"])
    model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(path, full_check=True)
    if (model.ir_version, model.opset_import[0].version) != (8, 17):
        raise ValueError(f"IR {model.ir_version}, opset {model.opset_import[0].version}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    entry = export["input"]
    x = np.fromfile(arguments.folder / entry["file"], "<" + entry["type"] if entry["type"] != "u1" else "u1")
    x = x.reshape(-1, *entry["shape"])
    expected = np.fromfile(arguments.folder / export["answer"], "<f4").reshape(len(x), -1)
    worst = 0.0
    for batch in export["batches"]:
        for start in range(0, len(x) - batch + 1, batch):
            [found] = session.run(["output"], {"input": x[start : start + batch]})
            found, right = found.reshape(batch, -1), expected[start : start + batch]
            if not np.isfinite(found).all():
                return float("inf")
            worst = max(worst, float(np.abs(found - right).max() / max(np.abs(expected).max(), 1e-30)))
    return worst


failures = []
exports = json.loads((arguments.folder / "exports.json").read_text())
for export in exports:
    try:
        worst = difference(export)
        print(f"{worst:8.1e}  {export['network']}")
        if not worst <= arguments.tolerance:
            failures.append(f"{export['network']}: differs by {worst:.1e} of the largest value")
    except Exception as error:
        failures.append(f"{export['network']}: {type(error).__name__}: {error}")
if failures:
    sys.exit("\n".join(failures))
if not exports:
    sys.exit("no exports")
print(f"{len(exports)} exports agree")
