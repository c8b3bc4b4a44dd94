"""Times dyconv and other runtimes alternately on the same networks with the same weights, and prints one table.

    python compare.py [--dyconv PATH] [--networks mobilenet_v2_x1_0,…] [--threads 1] [--batch 1] [--rounds 10] [--json OUT]

Needs numpy, onnxruntime and openvino, which read what `dyconv export` writes. Every candidate's answer is compared with
dyconv's oracle before it is timed. A round gives each candidate a short burst, in an order that is reversed from round
to round; a cell is the median over the rounds of the burst's median, with the fastest burst in brackets, in
milliseconds for one image of the batch.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--dyconv", default="target/release/dyconv")
parser.add_argument("--networks", default="mobilenet_v2_x1_0,mobilenet_v3_small,resnet18")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--batch", type=int, default=1, help="images at a time; above 1 the peers get only the portable form")
parser.add_argument("--rounds", type=int, default=10)
parser.add_argument("--seconds", type=float, default=0.25, help="length of a burst")
parser.add_argument("--json", default=None)
arguments = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(arguments.threads)

import numpy as np
import onnxruntime
import openvino

SIDE = 224


def ort(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = arguments.threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"input": x})[0]


def ov(path, precision):
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": arguments.threads}
    settings["INFERENCE_PRECISION_HINT"] = precision
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    tensor = openvino.Tensor(np.zeros((arguments.batch, 3, SIDE, SIDE), np.float32))
    request.set_input_tensor(tensor)

    def run(x):
        tensor.data[:] = x
        request.infer()
        return request.get_output_tensor().data

    return run


def burst(run, x):
    times, end = [], time.perf_counter() + arguments.seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run(x)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times) / arguments.batch


def dyconv(*words):
    return subprocess.run([arguments.dyconv, *map(str, words)], check=True, capture_output=True, text=True).stdout


def dyconv_burst(model, precision):
    result = dyconv("bench", model, "--precision", precision, "--bank", precision, "--threads", arguments.threads, "--batch", arguments.batch, "--seconds", arguments.seconds, "--json")
    return json.loads(result)["rows"][0]["median_ms"] / arguments.batch


def candidates(name, folder, x):
    """Burst functions by (runtime, static or dynamic), each checked first."""
    found = {}
    for kind, network in [("static", name), ("dynamic", f"dy_{name}")]:
        model = folder / f"{network}.safetensors"
        dyconv("new", network, "--out", model, "--large-router-init", "--tau", 4)
        np.save(folder / "x.npy", x)
        dyconv("run", model, "--input", folder / "x.npy", "--output", folder / "y.npy", "--engine", "oracle")
        expected = np.load(folder / "y.npy")
        found["dyconv f32", kind] = lambda model=model: dyconv_burst(model, "f32")
        found["dyconv bf16", kind] = lambda model=model: dyconv_burst(model, "bf16")
        # A static network has one form; the exact form of a dynamic one is for one image.
        forms = [None] if kind == "static" else ["portable"] if arguments.batch > 1 else ["exact", "portable"]
        for form in forms:
            path = str(folder / f"{network}-{form}.onnx")
            dyconv("export", model, "--onnx", path, "--batch", arguments.batch, *(["--form", form] if form else []))
            suffix = " (portable)" if form == "portable" else ""
            for label, run, tolerance in [
                ("ONNX Runtime" + suffix, ort(path), 1e-4),
                ("OpenVINO f32" + suffix, ov(path, "f32"), 1e-4),
                ("OpenVINO bf16" + suffix, ov(path, "bf16"), None),
            ]:
                error = float(np.abs(run(x) - expected).max() / np.abs(expected).max())
                if tolerance and error > tolerance:
                    sys.exit(f"{label} on {network}: differs from the oracle by {error:.1e} of the largest logit")
                found[label, kind] = lambda run=run: burst(run, x)
    return found


def cpu():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


rows = {}
with tempfile.TemporaryDirectory() as folder:
    x = np.random.default_rng(0).standard_normal((arguments.batch, 3, SIDE, SIDE)).astype(np.float32)
    for name in arguments.networks.split(","):
        runs = candidates(name, pathlib.Path(folder), x)
        times = {key: [] for key in runs}
        for round in range(arguments.rounds):
            order = list(runs) if round % 2 == 0 else list(runs)[::-1]
            for key in order:
                times[key].append(runs[key]())
        for (runtime, kind), values in times.items():
            rows.setdefault(runtime, {})[name, kind] = (statistics.median(values), min(values))

networks = arguments.networks.split(",")
print(f"{cpu()}, {arguments.threads} thread(s), batch {arguments.batch}, {SIDE} x {SIDE}; median (fastest burst) in ms for one image")
print(f"{dyconv('--version').strip()}, onnxruntime {onnxruntime.__version__}, openvino {openvino.__version__.split('-')[0]}\n")
head = [f"{n} {kind}" for n in networks for kind in ("static", "dynamic")]
print("| runtime | " + " | ".join(head) + " |\n|---|" + "---|" * len(head))
for runtime, cells in rows.items():
    texts = []
    for n in networks:
        for kind in ("static", "dynamic"):
            value = cells.get((n, kind))
            texts.append(f"{value[0]:.2f} ({value[1]:.2f})" if value else "")
    print(f"| {runtime} | " + " | ".join(texts) + " |")
if arguments.json:
    flat = [{"runtime": r, "network": n, "kind": k, "median_ms": v[0], "fastest_ms": v[1]} for r, c in rows.items() for (n, k), v in c.items()]
    pathlib.Path(arguments.json).write_text(json.dumps({"threads": arguments.threads, "batch": arguments.batch, "cpu": cpu(), "rows": flat}, indent=1))
