"""What an importance judges the slots of a group by: the weights that carry them, and what was observed of them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.apart import Outer, positions_apart, runs, whole_axes
from fxcompress.analysis.axes.axis import Axis
from fxcompress.analysis.axes.groups import Carrier, Group
from fxcompress.analysis.axes.positions import positions_of_all
from fxcompress.graph.nodes import argument_names, is_call
from fxcompress.graph.operators import NORMS
from fxcompress.graph.tensors import attribute
from fxcompress.pruning.choosing.activations import Observed

aten = torch.ops.aten
PRODUCER, CONSUMER, SCALE, SHIFT, OTHER = "producer", "consumer", "scale", "shift", "other"


@dataclass(frozen=True)
class Slices:
    """What one carrier holds of a group.

    Attributes:
        path: the name of the stored tensor.
        dim: its axis that carries the group.
        kind: "producer" (rows that compute the slots), "consumer" (columns that contract them), "scale" and "shift"
            (vectors that multiply or are added), "other" (running statistics, tables).
        tensor: the whole tensor, floating; of a convolution whose groups lose channels of their own its groups side by
            side: [rows of a group, channels of all groups, ...].
        places: [slots, times], the positions of its axis `dim` in which each slot stands.
        whole_gradient: the gradient of the loss, like `tensor`; None where none was taken.
        magnitude: [slots], of what a consumer contracts: mean absolute value; None where nothing was observed.
        energy: [slots], of what a consumer contracts: root of the sum of mean squares.
    """

    path: str
    dim: int
    kind: str
    tensor: torch.Tensor
    places: torch.Tensor
    whole_gradient: torch.Tensor | None = None
    magnitude: torch.Tensor | None = None
    energy: torch.Tensor | None = None

    @functools.cached_property
    def weight(self) -> torch.Tensor:
        """[slots, elements]: the elements of the tensor that go with each slot."""
        return gathered(self.tensor, self.dim, self.places)

    @functools.cached_property
    def gradient(self) -> torch.Tensor | None:
        """[slots, elements], the gradient of the loss; None where none was taken."""
        return None if self.whole_gradient is None else gathered(self.whole_gradient, self.dim, self.places)

    def powers(self, power: float) -> torch.Tensor:
        """Return [slots] float64: the sum over the elements of |w| ** power, without gathering them."""
        return power_sums(self.tensor, self.dim, power)[self.places].sum(1).double()


def power_sums(tensor: torch.Tensor, dim: int, power: float) -> torch.Tensor:
    """Return [positions of `dim`]: the sum over all other dims of |w| ** power."""
    wide = tensor if tensor.dtype == torch.float64 else tensor.float()
    if dim == 0:
        rows = wide.reshape(wide.shape[0], -1)
        norms: torch.Tensor = torch.linalg.vector_norm(rows, power, dim=1)
        return norms.pow(power)
    blocks = wide.reshape(prod(wide.shape[:dim]), wide.shape[dim], -1)
    powered = blocks.square() if power == 2 else blocks.abs().pow(power) if power != 1 else blocks.abs()
    return powered.sum(0).sum(1)


@dataclass(frozen=True)
class Evidence:
    """All that is known of the slots of one group.

    Attributes:
        name: of the group.
        slots: how many there are; where each group of a convolution loses channels of its own, one for each group and
            channel.
        slices: what its floating carriers hold, in the order of the graph.
        generator: for what is random.
    """

    name: str
    slots: int
    slices: Sequence[Slices]
    generator: torch.Generator

    def of(self, *kinds: str) -> list[Slices]:
        """Return the slices of some kinds."""
        return [one for one in self.slices if one.kind in kinds]


class Evidences:
    """Gathers the evidence for the groups of one module."""

    def __init__(
        self,
        module: GraphModule,
        axes: Axes,
        generator: torch.Generator,
        observed: Mapping[int, Observed] | None = None,
        gradients: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        self.module, self.axes, self.generator = module, axes, generator
        self.observed, self.gradients = observed or {}, gradients or {}
        self.wholes = whole_axes(axes)

    def of(self, group: Group, outer: Outer = ()) -> Evidence:
        """Return the evidence for the slots of `group`, or for those in each place of what stands before it."""
        slices = [self._slices(carrier, group, outer) for carrier in group.carriers]
        some = [one for one in slices if one is not None]
        return Evidence(group.name, runs(outer) * group.size, some, self.generator)

    def kind(self, carrier: Carrier) -> str:
        """Return what a carrier does to the slots."""
        if id(carrier.axis) in self.axes.contracted:
            return CONSUMER
        if sum(axis.size > 1 for axis in carrier.axis.value.axes) > 1:
            return PRODUCER
        return _vector_kind(self.axes.readers.get(id(carrier.axis.value), []), carrier.path)

    def _slices(self, carrier: Carrier, group: Group, outer: Outer) -> Slices | None:
        tensor, axis = attribute(self.module, carrier.path).detach(), carrier.axis
        if not tensor.is_floating_point():
            return None
        gradient = self.gradients.get(carrier.path)
        if outer and id(axis) in self.wholes:
            count, axis = self.wholes[id(axis)].size // axis.size, self.wholes[id(axis)]
            tensor = side_by_side(tensor, carrier.dim, count)
            gradient = None if gradient is None else side_by_side(gradient, carrier.dim, count)
        seen = self.observed.get(id(carrier.axis))
        looked = None if seen is None else places_of(seen.axis, group, outer)
        return Slices(
            carrier.path,
            carrier.dim,
            self.kind(carrier),
            tensor,
            places_of(axis, group, outer).to(tensor.device),
            gradient,
            None if seen is None else seen.magnitude[looked].mean(1),
            None if seen is None else seen.squares[looked].sum(1).sqrt(),
        )


def side_by_side(weight: torch.Tensor, dim: int, groups: int) -> torch.Tensor:
    """Return the weight of a convolution with its groups one behind the other along `dim` in place of dim 0."""
    return torch.cat(weight.tensor_split(groups), dim)


def places_of(axis: Axis, group: Group, outer: Outer = ()) -> torch.Tensor:
    """Return [slots, times]: the positions of `axis` in which each slot of a group stands, in each place of `outer`."""
    if outer:
        return torch.from_numpy(positions_apart(axis.term, group.leaf, outer))
    return torch.from_numpy(positions_of_all(axis.term, group.leaves))


def gathered(tensor: torch.Tensor, dim: int, places: torch.Tensor) -> torch.Tensor:
    """Return [slots, elements] of a tensor whose dimension `dim` has the slots at `places`."""
    rows = tensor.movedim(dim, 0).reshape(tensor.shape[dim], -1)
    return rows[places].reshape(len(places), -1)


def _vector_kind(readers: Sequence[tuple[Node, Node]], path: str) -> str:
    """Say whether a vector multiplies or is added, by the calls that read it."""
    for node, source in readers:
        if is_call(node, *NORMS):
            row = zip(argument_names(node), node.args, strict=False)
            name = next((name for name, given in row if given is source), "")
            return {"weight": SCALE, "bias": SHIFT}.get(name, OTHER)
        if is_call(node, aten.mul) or "dequantize" in str(node.target):
            return SCALE
    return SHIFT if not path.endswith(("running_mean", "running_var")) else OTHER
