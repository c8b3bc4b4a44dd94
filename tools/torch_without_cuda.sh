#!/usr/bin/env bash
# Installs PyTorch, torchvision and timm into a virtual environment without the gigabytes of CUDA that its wheel for Linux asks for:
#
#     tools/torch_without_cuda.sh VENV
#
# The wheel is linked with CUDA's libraries, though nothing calls them on a CPU. Libraries of the same names are built whose
# functions all return an error code, and put beside it. Needs a C compiler and readelf. Where pytorch.org can be reached, its
# wheels for CPUs are the better way.
set -euo pipefail

venv=$1
pip() { "$venv/bin/pip" install -q --disable-pip-version-check "$@"; }

pip --no-deps torch==2.15.0 torchvision==0.29.2 timm==1.0.31
pip numpy typing_extensions sympy networkx jinja2 filelock fsspec "setuptools>=77" pillow pyyaml safetensors huggingface_hub
# Small, and really used when PyTorch is imported.
pip --no-deps nvidia-cuda-runtime nvidia-cuda-cupti nvidia-nvshmem-cu13

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
lib=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/torch/lib

# Every symbol that some library of PyTorch expects from another one, with its version if it has one.
for file in "$lib"/libtorch*.so "$lib"/libc10_cuda.so "$lib"/libcaffe2_nvrtc.so; do
    readelf -W --dyn-syms "$file" | awk '$7 == "UND" { print $8 }'
done | sort -u >"$work/undefined"

# stub LIBRARY PATTERN: builds a library that defines the expected symbols that begin so.
stub() {
    grep -E "^$2" "$work/undefined" >"$work/symbols" || true
    sed 's/@.*//' "$work/symbols" | sort -u | sed 's/.*/int &(void) { return 1; }/' >"$work/stub.c"
    sed -n 's/.*@//p' "$work/symbols" | sort -u | while read -r version; do
        echo "$version {"
        echo "    global:"
        grep "@$version\$" "$work/symbols" | sed 's/@.*/;/'
        echo "};"
    done >"$work/stub.map"
    local script=()
    [ ! -s "$work/stub.map" ] || script=("-Wl,--version-script=$work/stub.map")
    cc -shared -fPIC -w -o "$lib/$1" "-Wl,-soname,$1" "${script[@]}" "$work/stub.c"
}

stub libcublas.so.13 'cublas[^L]'
stub libcublasLt.so.13 cublasLt
stub libcudnn.so.9 cudnn
stub libcufft.so.12 cufft
stub libcufile.so.0 cuFile
stub libcusolver.so.12 cusolver
stub libcusparse.so.12 'cusparse[^L]'
stub libcusparseLt.so.0 cusparseLt
stub libnccl.so.2 'p?nccl'
stub libnvrtc.so.13 nvrtc

"$venv/bin/python" -c 'import torch; print("PyTorch", torch.__version__, torch.nn.Conv2d(1, 1, 1)(torch.zeros(1, 1, 2, 2)).shape)'
