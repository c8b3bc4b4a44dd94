"""Writes the small golden files of the repository: `golden/onnx/` and `golden/torch/`.

    python make_small.py GOLDEN_FOLDER [--only NAME,NAME…]
    python make_small.py GOLDEN_FOLDER --states

`onnx/NAME-torchscript.onnx` and `onnx/NAME-dynamo.onnx`, by PyTorch's two exporters, with the logits NAME.out.npy of the
pictures that networks of one size share; LIST names the three files of each test. The batch is 2 and free in the graph, or
fixed in it where the name ends in _b1 or _b2. The notes that the newer exporter puts on
nodes are dropped, since they are larger than the weights. `torch/`: see `small_states.py`. The files in git were made with
the versions that `golden/onnx/VERSIONS` names; another version of PyTorch draws the same weights but may write other graphs.
"""
import argparse
import pathlib

import numpy as np
import onnx
import onnxruntime
import timm
import torch
import torchvision

import small_networks
import small_states
from making import EXPORTERS, difference, export_onnx, onnxruntime_answer, pictures, randomise, seed


def strip(path):
    model = onnx.load(path)
    for graph in [model.graph, *model.functions]:
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        del value.metadata_props[:]
        value.doc_string = ""
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def write(name, model, side, batch, free_batch, exporters, folder):
    seed(f"{batch} {side}")  # networks of one size share their pictures
    x = pictures(batch, side)
    shared = f"pictures_{batch}x3x{side}x{side}.npy"
    np.save(folder / shared, x.numpy())
    with torch.no_grad():
        y = model(x).numpy()
    np.save(folder / f"{name}.out.npy", y)
    texts, lines = [], []
    for exporter in exporters:
        path = folder / f"{name}-{exporter}.onnx"
        export_onnx(model, x, path, exporter, free_batch)
        strip(path)
        error = difference(onnxruntime_answer(path, x.numpy()), y)
        texts.append(f"{exporter} {error:.0e} ({path.stat().st_size} bytes)")
        assert error < 1e-5, (name, exporter, error)
        lines.append(f"{path.name} {shared} {name}.out.npy\n")
    print(f"{name:24} {list(x.shape)} onnxruntime differs by: {'; '.join(texts)}", flush=True)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--only", default=None)
    parser.add_argument("--states", action="store_true", help="only the folder torch/")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.states:
        return small_states.write(arguments.folder / "torch")
    wanted = arguments.only.split(",") if arguments.only else None
    folder = arguments.folder / "onnx"
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, (make, side, *batches) in {**small_networks.STATIC, **small_networks.DYNAMIC}.items():
        if wanted and name not in wanted:
            continue
        seed(name)
        exporters = small_networks.EXPORTERS.get(name, EXPORTERS)
        model = randomise(make(), side, batches=4, batch=8)
        if not batches:
            lines += write(name, model, side, 2, True, exporters, folder)
        for batch in batches[0] if batches else []:
            lines += write(f"{name}_b{batch}", model, side, batch, False, exporters, folder)
    index = folder / "LIST"
    kept = index.read_text().splitlines(keepends=True) if wanted and index.exists() else []
    new = {line.split()[0] for line in lines}
    index.write_text("".join(sorted([line for line in kept if line.split()[0] not in new] + lines)))
    versions = [f"{m.__name__} {m.__version__}\n" for m in (torch, torchvision, timm, onnx, onnxruntime)]
    (folder / "VERSIONS").write_text("".join(versions))


if __name__ == "__main__":
    main()
