"""The layers that are matrices: finding them in a graph, and putting two in the place of one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import argument, is_call, set_argument
from fxcompress.graph.tensors import add_tensor, drop_unused, tensor_of

aten = torch.ops.aten
CONVOLUTIONS = {aten.conv1d: 1, aten.conv2d: 2, aten.conv3d: 3}


@dataclass(frozen=True)
class Matrix:
    """A stored weight that multiplies as a matrix, and everything that reads it.

    Attributes:
        path: the name of the parameter.
        tensor: [rows, columns], with dimensions of size 1 behind for a convolution.
        readers: the linears and 1x1 convolutions that multiply with it; several where the weight is tied.
    """

    path: str
    tensor: torch.Tensor
    readers: tuple[Node, ...]

    @property
    def rows(self) -> int:
        return self.tensor.shape[0]

    @property
    def columns(self) -> int:
        return self.tensor.shape[1]

    def size(self, rank: int) -> int:
        """Return the number of parameters of two factors of this rank."""
        return rank * (self.rows + self.columns)


def spatial_dims(node: Node) -> int:
    """Return the number of dimensions that a convolution slides over, 0 for a linear."""
    return next((dims for packet, dims in CONVOLUTIONS.items() if is_call(node, packet)), 0)


def obstacle(module: GraphModule, node: Node) -> str | None:
    """Return why the weight of a linear or convolution is no stored matrix, None where it is one."""
    source = argument(node, "weight")
    tensor = tensor_of(module, source)
    if tensor is None or not tensor.is_floating_point():
        return "the weight is computed in the graph"
    if tensor.dim() < 2:
        return "the weight is a vector"
    if spatial_dims(node) and (argument(node, "groups") != 1 or any(size != 1 for size in tensor.shape[2:])):
        return "only a convolution of size 1 with one group is a matrix"
    return None


def matrices(module: GraphModule, nodes: Iterable[Node]) -> tuple[list[Matrix], dict[str, list[Node]]]:
    """Return the matrices that the calls among `nodes` multiply with, and the layers left out by the reason why.

    A weight that something else reads too would stay beside its factors; it is left out.
    """
    left_out: dict[str, list[Node]] = defaultdict(list)
    readers: dict[int, list[Node]] = defaultdict(list)
    for node in nodes:
        if is_call(node, aten.linear, *CONVOLUTIONS):
            why = obstacle(module, node)
            if why is None:
                readers[id(tensor_of(module, argument(node, "weight")))].append(node)
            else:
                left_out[why].append(node)
    found = []
    for group in readers.values():
        source = argument(group[0], "weight")
        tensor = tensor_of(module, source)
        assert tensor is not None
        others = [reader for reader in readers_of(module, tensor) if reader not in group]
        if others:
            left_out[f"%{others[0].name} reads the weight too"] += group
        else:
            found.append(Matrix(str(source.target), tensor, tuple(group)))
    return found, dict(left_out)


def readers_of(module: GraphModule, tensor: torch.Tensor) -> list[Node]:
    """Return every node that reads `tensor`, under whatever name, in the order of the graph."""
    sources = [node for node in module.graph.find_nodes(op="get_attr") if tensor_of(module, node) is tensor]
    found = {user for source in sources for user in source.users}
    return [node for node in module.graph.nodes if node in found]


def split(module: GraphModule, matrix: Matrix, down: torch.Tensor, up: torch.Tensor) -> None:
    """Let two layers with the factors as weights stand for every reader of `matrix`.

    Args:
        down: [rank, columns], the weight of the first layer.
        up: [rows, rank], that of the second, which keeps the bias; stride and padding are with the first.
    """
    first = matrix.readers[0]
    down_node = add_tensor(module, f"{matrix.path}_down", factor(matrix, down), first)
    up_node = add_tensor(module, f"{matrix.path}_up", factor(matrix, up), first)
    for reader in matrix.readers:
        replace(module, reader, down_node, up_node)
    drop_unused(module)


def factor(matrix: Matrix, values: torch.Tensor) -> torch.nn.Parameter:
    """Return a factor in the dtype of the weight, with its dimensions of size 1, trainable where the weight is."""
    shaped = values.reshape(*values.shape, *[1] * (matrix.tensor.dim() - 2))
    return torch.nn.Parameter(shaped.to(matrix.tensor.dtype).contiguous(), requires_grad=matrix.tensor.requires_grad)


def replace(module: GraphModule, node: Node, down: Node, up: Node) -> None:
    """Put a call with the weight `down` before `node`, which goes on with the weight `up` and its bias."""
    bias = argument(node, "bias")
    with module.graph.inserting_before(node):
        first = module.graph.create_node("call_function", node.target, node.args, node.kwargs, f"{node.name}_down")
    set_argument(first, "weight", down)
    set_argument(first, "bias", None)
    # The module path and the line in the user's code are those of `node`; a diff is told whose part the new node is.
    first.meta = {**node.meta, "origin": (node.name,)}
    node.target, node.args, node.kwargs = plain(node), (first, up, bias), {}


def plain(node: Node) -> torch._ops.OpOverload:
    """Return the operation for the second layer, whose defaults are right: stride 1, no padding."""
    if is_call(node, aten.linear):
        return aten.linear.default
    return next(packet.default for packet in CONVOLUTIONS if is_call(node, packet))
