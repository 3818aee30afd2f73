"""The weights of a graph: which tensors linears, convolutions and embeddings multiply with, and who reads them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

from fxcompress.contract import PassContext
from fxcompress.errors import PassFailed
from fxcompress.graph.nodes import argument, is_call, tensor_of

aten = torch.ops.aten

CONVOLUTIONS = (aten.conv1d, aten.conv2d, aten.conv3d)
TRANSPOSED_CONVOLUTIONS = (aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d)
LINEAR = (aten.linear,)
EMBEDDINGS = (aten.embedding,)
WEIGHTED = (*LINEAR, *CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS, *EMBEDDINGS)


@dataclass(frozen=True)
class Weight:
    """A stored weight and the calls that multiply with it; a tied weight is one, whatever its names.

    Attributes:
        path: the name of the first node that reads it.
        tensor: the tensor itself, floating.
        readers: the calls, in the order of the graph.
        sources: the `get_attr` nodes.
    """

    path: str
    tensor: torch.Tensor
    readers: tuple[Node, ...]
    sources: tuple[Node, ...]

    @property
    def output_axis(self) -> int:
        """The axis of output channels; that of rows for an embedding."""
        return 1 if is_call(self.readers[0], *TRANSPOSED_CONVOLUTIONS) else 0


def weight_argument(node: Node) -> Node | None:
    """Return the node that gives the weight of a linear, convolution or embedding, None for any other call."""
    found = argument(node, "weight") if is_call(node, *WEIGHTED) else None
    return found if isinstance(found, Node) else None


def weights_of(module: GraphModule, nodes: Iterable[Node]) -> list[Weight]:
    """Return the stored floating weights that the calls among `nodes` multiply with, in the order of the graph."""
    grouped: dict[int, list[Node]] = {}
    tensors: dict[int, torch.Tensor] = {}
    for node in nodes:
        tensor = tensor_of(module, weight_argument(node))
        if tensor is not None and tensor.is_floating_point():
            grouped.setdefault(id(tensor), []).append(node)
            tensors[id(tensor)] = tensor
    found = []
    for key, readers in grouped.items():
        sources = tuple(dict.fromkeys(argument(reader, "weight") for reader in readers))
        found.append(Weight(str(sources[0].target), tensors[key], tuple(readers), sources))
    return found


def selected_weights(
    module: GraphModule, context: PassContext, targets: tuple[str, ...], ignore: tuple[str, ...]
) -> list[Weight]:
    """Return the stored weights that `targets` mean and `ignore` does not.

    Weights that the graph computes, from other tensors or by dequantizing, are named in a note.

    Raises:
        PassFailed: a pattern matches nothing, or only calls without a weight.
    """
    nodes = context.select(module, targets, ignore)
    found = weights_of(module, nodes)
    stored = {reader for weight in found for reader in weight.readers}
    for node in nodes:
        if weight_argument(node) is not None and node not in stored:
            context.note(f"%{node.name} is left alone: its weight is computed in the graph (fold-constants may store it)")
    if targets and not found:
        raise PassFailed(f"none of {', '.join(targets)} has a stored weight")
    return found
