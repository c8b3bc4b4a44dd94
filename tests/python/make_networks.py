"""Makes the networks of `networks.py` with random weights and writes for each a folder with model.safetensors, model.pth,
torchscript.onnx, dynamo.onnx (with its weights beside it in dynamo.onnx.data, as PyTorch does by default), input.npy and
logits.npy. Networks whose batch is part of the graph also get b4.*, with a batch of four.

    python make_networks.py FOLDER [--only NAME,NAME…] [--list] [--exact]

Needs torch, torchvision, timm, onnx, onnxscript, onnxruntime and safetensors. Nothing is downloaded. All weights come from
a seed that is the name's checksum.
"""
import argparse
import json
import pathlib
import sys
import time

from networks import BY_NAME, NETWORKS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--only", default=None)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--exact", action="store_true", help="also say how far PyTorch's f32 is from its f64 (slow)")
    arguments = parser.parse_args()
    if arguments.list:
        for network in NETWORKS:
            print(f"{network.name:34} {network.side:4} px  batch {'free' if network.free_batch else '1 and 4':8} {network.arch or ''}")
        return
    if not arguments.folder:
        parser.error("a folder is needed")
    names = arguments.only.split(",") if arguments.only else list(BY_NAME)
    if unknown := [name for name in names if name not in BY_NAME]:
        sys.exit(f"unknown network: {', '.join(unknown)}; see --list")
    for name in names:
        make(BY_NAME[name], pathlib.Path(arguments.folder), arguments.exact)


def make(network, root, exact):
    from making import pictures, randomise, seed, write

    start = time.perf_counter()
    seed(network.name)
    model = randomise(network.make(), network.side)
    folder = root / network.name
    x = pictures(network.batch, network.side)
    logits, found = write(model, x, folder, free_batch=network.free_batch, external=True, exact=exact)
    for batch in network.extra_batches:
        _, more = write(model, pictures(batch, network.side), folder, f"b{batch}.", free_batch=False, states=False, external=True)
        found |= {f"b{batch}.{who}": value for who, value in more.items()}
    facts = dict(name=network.name, input=list(x.shape), classes=logits.shape[1], arch=network.arch, tau=network.tau)
    (folder / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    texts = [f"{key} {value:.0e}" if isinstance(value, float) else f"{key} FAILED ({value})" for key, value in found.items()]
    print(f"{network.name:34} {list(x.shape)} logits ±{abs(logits).max():.2f}; differs by: {'; '.join(texts)}; "
          f"{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
