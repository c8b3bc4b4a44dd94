"""Which convolutions of a network become dynamic: those that `dyconv import --to-dynamic` chooses, found in
the graph of `torch.export`.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.fx import Node

from ._input import Size, images

CONVOLUTIONS = {"conv1d", "conv2d", "conv3d", "convolution", "conv_transpose2d"}
PRODUCTS = {"linear", "matmul", "bmm", "mm", "addmm", "einsum"}
AVERAGES = {"mean", "adaptive_avg_pool2d", "avg_pool2d"}
MAXIMA = {"amax", "adaptive_max_pool2d", "max_pool2d"}


def chosen(model: nn.Module, input_size: Size) -> list[str]:
    """The names of the modules `torch.nn.Conv2d` that become dynamic, in the order in which they run.

    Raises:
        RuntimeError: if the network cannot be traced.
    """
    graph = Graph(model, input_size)
    names: dict[str, bool] = {}
    for node in graph.data:
        name = graph.module(node)
        if name is not None:
            # A layer that is used twice must be one of them both times.
            names[name] = names.get(name, True) and graph.becomes_dynamic(node)
    return [name for name, becomes in names.items() if becomes]


class Graph:
    """The operations of a network on what is computed from the image, in their order."""

    def __init__(self, model: nn.Module, input_size: Size) -> None:
        self.model = model
        x = images(model, 2, input_size)
        modes = {module: module.training for module in model.modules()}
        try:
            program = torch.export.export(model.eval(), (x,))
        except Exception as error:
            raise RuntimeError(
                f"torch.export cannot trace {type(model).__name__} with images {list(x.shape)}; "
                f"is input_size right? {error}"
            ) from error
        finally:
            for module, mode in modes.items():
                module.training = mode
        self.parameters = program.graph_signature.inputs_to_parameters
        inputs_of_user = set(program.graph_signature.user_inputs)
        # Nodes that depend on the image, with what they read of the kind.
        self.data: dict[Node, list[Node]] = {}
        self.outputs: set[Node] = set()
        # Those that depend on a layer with a kernel or a matrix.
        self.weighted: set[Node] = set()
        # Those that have no height and width, or that of one pixel, since the map was pooled.
        self.vectors: set[Node] = set()
        for node in program.graph.nodes:
            inputs = [source for source in node.all_input_nodes if source in self.data]
            if node.op == "output":
                self.outputs.update(inputs)
            elif inputs or node.name in inputs_of_user:
                self.data[node] = inputs
                if operation(node) in CONVOLUTIONS | PRODUCTS or any(i in self.weighted for i in inputs):
                    self.weighted.add(node)
                pooled = self.pools(node, AVERAGES | MAXIMA)
                if pooled or one_pixel(node) and inputs and self.vectors.issuperset(inputs):
                    self.vectors.add(node)

    def module(self, node: Node) -> str | None:
        """The name of the `torch.nn.Conv2d` whose kernel a convolution uses, if there is one."""
        if operation(node) != "conv2d" or len(node.args) < 2 or not isinstance(node.args[1], Node):
            return None
        name, _, weight = self.parameters.get(node.args[1].name, "").rpartition(".")
        is_layer = weight == "weight" and isinstance(self.model.get_submodule(name), nn.Conv2d)
        return name if is_layer else None

    def becomes_dynamic(self, conv: Node) -> bool:
        x = self.data[conv][0]
        if x not in self.weighted or x in self.vectors or conv in self.outputs:
            return False
        layer = self.model.get_submodule(self.module(conv) or "")
        pointwise = isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.groups == 1
        return not (pointwise and (self.is_head(conv) or self.is_shortcut(conv)))

    def readers(self, node: Node) -> list[Node]:
        return [user for user in node.users if user in self.data]

    def pools(self, node: Node, operations: set[str]) -> bool:
        """Whether this makes one pixel of a map."""
        is_pool = operation(node) in operations and one_pixel(node)
        return is_pool and len(shape(self.data[node][0])) == 4

    def follow(self, node: Node) -> Node:
        """Follows a layer's batch norm, activation and dropout, as long as they are the only readers."""
        while len(readers := self.readers(node)) == 1:
            (reader,) = readers
            alone = self.data[reader] == [node] and shape(reader) == shape(node)
            if not alone or operation(reader) in CONVOLUTIONS | PRODUCTS | AVERAGES | MAXIMA:
                break
            node = reader
        return node

    def is_head(self, conv: Node) -> bool:
        """Whether only the last pool reads the map of this layer, perhaps behind a squeeze-and-excitation."""
        end = self.follow(conv)
        for reader in self.readers(end):
            factors = [source for source in self.data[reader] if source is not end]
            if operation(reader) == "mul" and factors and self.vectors.issuperset(factors):
                end = reader
                break
        readers = self.readers(end)
        return len(readers) == 1 and self.pools(readers[0], AVERAGES)

    def is_shortcut(self, conv: Node) -> bool:
        """Whether this layer only adapts the input of a block to the block's result, to which it is added."""
        end = self.follow(conv)
        readers = self.readers(end)
        if len(readers) != 1 or operation(readers[0]) != "add" or len(self.data[readers[0]]) != 2:
            return False
        (other,) = (source for source in self.data[readers[0]] if source is not end)
        # The block's input may be pooled first, as in ResNet-D.
        start = self.data[conv][0]
        while operation(start) in {"avg_pool2d", "max_pool2d"}:
            start = self.data[start][0]
        return self.passes_layer(start, other)

    def passes_layer(self, start: Node, end: Node) -> bool:
        """Whether `end` is computed from `start` through a convolution of maps."""
        reached, passed = {start}, set[Node]()
        for node, inputs in self.data.items():
            if passed.intersection(inputs):
                passed.add(node)
            elif reached.intersection(inputs):
                is_layer = operation(node) in CONVOLUTIONS and node not in self.vectors
                (passed if is_layer else reached).add(node)
        return end in passed


def operation(node: Node) -> str:
    """The name of an operation in PyTorch, such as `relu`, whether it is done in place or not."""
    schema = getattr(node.target, "_schema", None)
    return schema.name.removeprefix("aten::").rstrip("_") if schema is not None else ""


def shape(node: Node) -> tuple[int, ...]:
    """The shape of a value; empty if it is no tensor."""
    return tuple(getattr(node.meta.get("val"), "shape", ()))


def one_pixel(node: Node) -> bool:
    """Whether a value has no height and width, or one pixel."""
    dims = shape(node)
    return len(dims) == 2 or len(dims) == 4 and set(dims[2:]) == {1}
