"""Dynamic convolution networks on a CPU: images in, labels, keypoints and attention out.

    import dyconv

    model = dyconv.load("model.safetensors", threads=2)
    model.predict("cat.jpg")                     # [Prediction(label, index, probability), …]
    model.keypoints("street.jpg", boxes=[[40, 20, 120, 260]])
    model.attention("cat.jpg")                   # {layer: array[K]}
    model.logits(x)                              # float32 [N, C, H, W] → [N, classes]

Images are paths, bytes of image files, images of Pillow, or arrays of uint8 [height, width, 3]. One model serves any number
of threads. The preprocessing travels with the model, so answers are those of `dyconv predict`.

Weights of PyTorch, timm and ONNX come in, and go out again:

    model = dyconv.import_("resnet18.pth", arch="resnet18", classes=names)
    model.save("resnet18.safetensors")
    model.to_onnx("resnet18.onnx")

`dyconv.torch` has dynamic convolutions for PyTorch, to train; `dyconv.ray` runs models in Ray Data. They are imported when
asked for, and need PyTorch and Ray. Everything that goes wrong is a `dyconv.Error`, or one of Python's own exceptions, whose
message says what was expected.
"""

from ._answers import Cost, Keypoint, Prediction, Preprocessing
from ._dyconv import Error, ImageError, __version__
from ._images import Image
from ._import import import_
from ._model import Model, load

__all__ = [
    "Cost",
    "Error",
    "Image",
    "ImageError",
    "Keypoint",
    "Model",
    "Prediction",
    "Preprocessing",
    "__version__",
    "import_",
    "load",
]
