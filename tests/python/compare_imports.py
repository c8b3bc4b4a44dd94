"""Imports the networks that `make_networks.py` wrote into dyconv, compares the answers with PyTorch's and the speed with
onnxruntime's, and prints two tables.

    python compare_imports.py FOLDER [--dyconv target/release/dyconv] [--only NAME,…] [--no-speed] [--rounds 6] [--seconds 0.25]

Needs numpy and onnxruntime. Answers: the largest difference of the logits as a part of the largest logit, by `dyconv run` of
the imported model. Bars: 1e-5 for a state dict, 1e-4 for ONNX. Speed: one thread, f32, one picture; the file of the TorchScript
exporter in both. A round gives each a short burst, in an order that is reversed from round to round; a cell is the median over
the rounds of the burst's median in milliseconds. Bars: the geometric mean of dyconv's time over onnxruntime's at most 0.9 for the
static networks, at most 0.5 for each dynamic one. Exits with 1 if a bar is missed or an import fails.
"""
import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["OMP_NUM_THREADS"] = "1"
import numpy as np
import onnxruntime

STATE_BAR, ONNX_BAR, STATIC_SPEED_BAR, DYNAMIC_SPEED_BAR = 1e-5, 1e-4, 0.9, 0.5


def call(*words):
    """Standard output of dyconv, or the first line of its error as an exception."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in (done.stderr.strip() or done.stdout.strip()).splitlines() if line.strip()]
        raise RuntimeError(f"exit {done.returncode}: {' / '.join(lines[:2])}"[:300])
    return done.stdout


def answer_differs(dyconv, model, x, y, scratch):
    call(dyconv, "run", model, "--input", x, "--output", scratch)
    answer, expected = np.load(scratch), np.load(y)
    scratch.unlink()
    if answer.shape != expected.shape:
        raise RuntimeError(f"shape {answer.shape}, expected {expected.shape}")
    return float(np.abs(answer.astype(np.float64) - expected).max() / np.abs(expected).max())


def ways(folder, facts):
    """(way, source, arguments, pictures, logits, bar)."""
    tau = ["--tau", str(facts["tau"])] if facts["tau"] else []
    if facts["arch"]:
        for file in ("model.safetensors", "model.pth"):
            yield file, folder / file, ["--arch", facts["arch"], *tau], "", STATE_BAR
    for path in sorted(folder.glob("*.onnx")):
        stem = path.name.removesuffix(".onnx")
        yield path.name, path, [], stem[: stem.rfind(".") + 1], ONNX_BAR


def compare(dyconv, folder, scratch):
    """Rows (network, way, difference or error, bar), and the model that came in from TorchScript's ONNX, if it did."""
    facts = json.loads((folder / "facts.json").read_text())
    rows, timed = [], None
    for way, source, words, prefix, bar in ways(folder, facts):
        model = scratch / f"{folder.name}.{way}.safetensors"
        x, y = folder / f"{prefix}input.npy", folder / f"{prefix}logits.npy"
        try:
            call(dyconv, "import", source, "--out", model, *words)
            result = answer_differs(dyconv, model, x, y, scratch / "y.npy")
        except RuntimeError as error:
            result = str(error)
        rows.append((folder.name, way, result, bar))
        if way == "torchscript.onnx" and isinstance(result, float):
            timed = model
        elif model.exists():
            model.unlink()
    return rows, timed


def ort_runner(path, x):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x}
    return lambda: session.run(None, feed)


def burst(run, seconds):
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def speed(dyconv, folder, model, rounds, seconds):
    x = np.load(folder / "input.npy")[:1]
    run = ort_runner(folder / "torchscript.onnx", x)
    ours = lambda: json.loads(call(dyconv, "bench", model, "--threads", 1, "--batch", 1, "--seconds", seconds, "--json"))["rows"][0]["median_ms"]
    theirs = lambda: burst(run, seconds)
    run()
    times = ([], [])
    for index in range(rounds):
        for which in (0, 1) if index % 2 == 0 else (1, 0):
            times[which].append((ours, theirs)[which]())
    return statistics.median(times[0]), statistics.median(times[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--dyconv", default="target/release/dyconv")
    parser.add_argument("--only", default=None)
    parser.add_argument("--no-speed", action="store_true")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=0.25, help="length of a burst")
    arguments = parser.parse_args()
    folders = sorted(path.parent for path in arguments.folder.glob("*/facts.json"))
    if arguments.only:
        folders = [folder for folder in folders if folder.name in arguments.only.split(",")]
    if not folders:
        sys.exit(f"no network in {arguments.folder}; make_networks.py writes them")
    missed, timed = 0, []
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        print("| network | way | differs by | bar | |\n|---|---|---|---|---|")
        for folder in folders:
            rows, model = compare(arguments.dyconv, folder, scratch)
            for name, way, result, bar in rows:
                good = isinstance(result, float) and result <= bar
                missed += not good
                text = f"{result:.1e}" if isinstance(result, float) else result
                print(f"| {name} | {way} | {text} | {bar:.0e} | {'' if good else 'MISSED'} |", flush=True)
            if model and arguments.no_speed:
                model.unlink()
            elif model:
                timed.append((folder, model))
        if timed:
            print("\n| network | dyconv, ms | onnxruntime, ms | ratio | |\n|---|---|---|---|---|")
        ratios = {True: [], False: []}
        for folder, model in timed:
            dynamic = folder.name.startswith("dy_") or "_cc_" in folder.name
            ours, theirs = speed(arguments.dyconv, folder, model, arguments.rounds, arguments.seconds)
            ratios[dynamic].append(ours / theirs)
            good = not dynamic or ours / theirs <= DYNAMIC_SPEED_BAR
            missed += not good
            print(f"| {folder.name} | {ours:.2f} | {theirs:.2f} | {ours / theirs:.2f} | {'' if good else 'MISSED'} |", flush=True)
        for dynamic, bar in [(False, STATIC_SPEED_BAR), (True, DYNAMIC_SPEED_BAR)]:
            if ratios[dynamic]:
                mean = math.exp(statistics.mean(map(math.log, ratios[dynamic])))
                missed += mean > bar
                kind = "dynamic" if dynamic else "static"
                print(f"\n{kind} networks: geometric mean of {len(ratios[dynamic])} ratios {mean:.2f}, bar {bar}")
    print(f"\n{missed} missed")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
