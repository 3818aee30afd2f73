"""A linear or convolution as a product of matrices: its weight, and rows of what it is given and gives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

from fxcompress.distributed import Share, all_of
from fxcompress.graph.nodes import argument, is_call
from fxcompress.graph.operators import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS
from fxcompress.graph.tensors import Sources, tensor_of

aten = torch.ops.aten


@dataclass(frozen=True)
class Layer:
    """A call that multiplies what it is given with a stored weight that nothing else reads.

    Attributes:
        node: the call: linear, a convolution, or addmm.
        path: the name of the weight.
    """

    node: Node
    path: str

    @property
    def source(self) -> Node:
        """The node that gives the layer's input."""
        found = argument(self.node, input_name(self.node))
        assert isinstance(found, Node)
        return found

    @property
    def bias(self) -> Node | None:
        found = argument(self.node, bias_name(self.node))
        assert found is None or isinstance(found, Node)
        return found

    @property
    def groups(self) -> int:
        return argument(self.node, "groups") if is_call(self.node, *CONVOLUTIONS) else 1

    @property
    def input_dim(self) -> int:
        """The axis of the weight that reads the input's channels."""
        return 0 if is_call(self.node, aten.addmm) else 1

    @property
    def output_dim(self) -> int:
        return 1 - self.input_dim

    @property
    def channel_axis(self) -> int:
        """The axis of channels in what the layer gives, from behind."""
        if is_call(self.node, *CONVOLUTIONS):
            return 1 - int(argument(self.node, "weight").meta["val"].dim())
        return -1

    def matrix(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight as f64[groups, width, outputs of a group]."""
        wide = weight.detach().double()
        if is_call(self.node, aten.addmm):
            return wide[None]
        rows: torch.Tensor = wide.flatten(1).view(self.groups, wide.shape[0] // self.groups, -1)
        return rows.mT

    def stored(self, matrix: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Return a matrix as `matrix` gave it in the shape and dtype of the weight `like`."""
        return (matrix[0] if is_call(self.node, aten.addmm) else matrix.mT).reshape(like.shape).to(like.dtype)


def input_name(node: Node) -> str:
    return "mat1" if is_call(node, aten.addmm) else "input"


def bias_name(node: Node) -> str:
    return "self" if is_call(node, aten.addmm) else "bias"


def layer_of(module: GraphModule, sources: Sources, node: Node) -> Layer | str | None:
    """Return `node` as a layer that can be fitted, why it is none, or None where it is another call."""
    if is_call(node, *TRANSPOSED_CONVOLUTIONS):
        return "a transposed convolution"
    if not is_call(node, aten.linear, aten.addmm, *CONVOLUTIONS):
        return None
    weight = argument(node, "mat2" if is_call(node, aten.addmm) else "weight")
    tensor = tensor_of(module, weight)
    if tensor is None:
        return "the weight is computed in the graph"
    if not tensor.is_floating_point() or tensor.dim() < 2:
        return "the weight is no matrix of floats"
    if sources.readers(weight) != {node}:
        return "the weight is shared"
    if is_call(node, aten.addmm) and (argument(node, "alpha"), argument(node, "beta")) != (1, 1):
        return "its terms are scaled"
    bias = argument(node, bias_name(node))
    given = tensor_of(module, bias)
    if bias is not None and (given is None or given.dim() != 1 or not given.is_floating_point()):
        return "its bias is no stored vector"
    return Layer(node, str(weight.target))


def rows_of_batch(
    layer: Layer, given: torch.Tensor, target: torch.Tensor, kernel: torch.Size, drawn: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows of what a layer is given and should give, in the order of the batch.

    Args:
        given: what it is given: [..., channels], or [batch, channels, ...] of a convolution.
        target: what it should give: [..., outputs], or [batch, outputs, ...].
        kernel: the sizes of a convolution's kernel.
        drawn: which of the rows, see `drawn_rows`.

    Returns:
        inputs [groups, rows, width] and targets [groups, rows, outputs of a group].
    """
    places = places_of(layer, given, kernel)
    if is_call(layer.node, *CONVOLUTIONS):
        target = target.movedim(layer.channel_axis, -1)
    chosen = chosen_places(layer, places, drawn)
    targets = target.reshape(*places.shape[: len(chosen)], -1)[chosen].reshape(len(chosen[0]), layer.groups, -1)
    return rows_at(layer, places, chosen), targets.transpose(0, 1)


def places_of(layer: Layer, given: torch.Tensor, kernel: torch.Size) -> torch.Tensor:
    """Return what a layer multiplies at each of its places: [places..., channels, kernel...], without a copy.

    Args:
        given: what it is given: [..., channels], or [batch, channels, ...] of a convolution.
        kernel: the sizes of a convolution's kernel.
    """
    if is_call(layer.node, *CONVOLUTIONS):
        return windows(layer.node, given[None] if given.dim() == len(kernel) + 1 else given, kernel)
    return given[None] if given.dim() == 1 else given


def drawn_rows(
    layer: Layer, given: Share[torch.Tensor], kernel: torch.Size, count: int, generator: torch.Generator
) -> list[torch.Tensor]:
    """Return which rows of each batch are looked at, at most `count` drawn at random, in order.

    `generator` draws for the batches of all processes one after the other, so that it does not matter who has which.

    Args:
        given: what the layer is given, batch by batch: [..., channels], or [batch, channels, ...] of a convolution.
        kernel: the sizes of a convolution's kernel.
    """
    shapes = [places_of(layer, torch.empty_like(one, device="meta"), kernel).shape for one in given]
    counts = all_of([shape[: layer.channel_axis].numel() for shape in shapes])
    return given.of([sample(total, count, generator) for total in counts])


def chosen_places(layer: Layer, places: torch.Tensor, drawn: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the indices of the places whose numbers were `drawn`."""
    return torch.unravel_index(drawn.to(places.device), places.shape[: layer.channel_axis])


def rows_at(layer: Layer, places: torch.Tensor, chosen: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return the chosen rows of `places_of`: [groups, rows, width]."""
    width = places.shape[layer.channel_axis :].numel() // layer.groups
    return places[chosen].reshape(len(chosen[0]), layer.groups, width).transpose(0, 1)


def sample(total: int, count: int, generator: torch.Generator) -> torch.Tensor:
    """Return `count` of `total` numbers in order, all where there are no more."""
    if total <= count:
        return torch.arange(total)
    return torch.randperm(total, generator=generator)[:count].sort().values


def windows(node: Node, given: torch.Tensor, kernel: torch.Size) -> torch.Tensor:
    """Return a view [batch, places..., channels, kernel...] of what a convolution multiplies at each of its places."""
    dims = len(kernel)
    stride, dilation = (spread(argument(node, name), dims) for name in ("stride", "dilation"))
    amounts = [amount for pair in reversed(padding_of(node, kernel, dilation)) for amount in pair]
    made = torch.nn.functional.pad(given, amounts)
    for dim in range(dims):
        reach = dilation[dim] * (kernel[dim] - 1) + 1
        made = made.unfold(2 + dim, reach, stride[dim])[..., :: dilation[dim]]
    return made.movedim(1, 1 + dims)


def padding_of(node: Node, kernel: torch.Size, dilation: list[int]) -> list[tuple[int, int]]:
    """Return how many zeros a convolution puts before and behind each axis."""
    padding = argument(node, "padding")
    if padding == "valid":
        return [(0, 0)] * len(kernel)
    if padding == "same":
        totals = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(one, one) for one in spread(padding, len(kernel))]


def spread(value: int | list[int], dims: int) -> list[int]:
    """Return one number for each axis; a single one counts for all."""
    row = list(value) if isinstance(value, list | tuple) else [value]
    return row * dims if len(row) == 1 else row
