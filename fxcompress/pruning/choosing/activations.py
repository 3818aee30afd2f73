"""What flows into the weights of a graph, and the gradients of its weights, measured on data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.axis import CONTRACT, Axis
from fxcompress.analysis.observe import observe
from fxcompress.capturing import Inputs
from fxcompress.contract import TrainingData
from fxcompress.distributed import computed, dealt, merged_row, slices, sum_tensors, together
from fxcompress.graph.tensors import named_tensors


@dataclass
class Observed:
    """What was seen of one axis that a stored weight contracts.

    Attributes:
        axis: the axis, of what is computed.
        magnitude: [positions] mean absolute value.
        squares: [positions] mean square.
    """

    axis: Axis
    magnitude: torch.Tensor
    squares: torch.Tensor


class Sums:
    """Sums of the absolute values and the squares at each of `size` positions, in float64, and of how many values."""

    def __init__(self, size: int) -> None:
        self.magnitude, self.squares = (torch.zeros(size, dtype=torch.float64) for _ in range(2))
        self.count = 0

    def add(self, rows: torch.Tensor) -> None:
        """Add float64 [positions, values]."""
        self.magnitude = self.magnitude.to(rows) + rows.abs().sum(1)
        self.squares = self.squares.to(rows) + rows.square().sum(1)
        self.count += rows.shape[1]

    def merge(self, other: Sums) -> None:
        """Add what `other` has seen."""
        device = (self if self.count else other).magnitude.device
        self.magnitude = self.magnitude.to(device) + other.magnitude.to(device)
        self.squares = self.squares.to(device) + other.squares.to(device)
        self.count += other.count


def observe_consumers(module: GraphModule, axes: Axes, batches: Iterable[Inputs]) -> dict[int, Observed]:
    """Run the calibration batches; return by the id of each contracted axis of a stored weight what flows into it."""
    sites = _sites(axes)
    seen = {id(weight): (given, Sums(given.size)) for pairs in sites.values() for given, weight in pairs}

    def look(node: Node, value: Any, seconds: float) -> None:
        for given, weight in sites.get(node, ()):
            tensor = given.value.of(value).detach()
            seen[id(weight)][1].add(tensor.movedim(given.dim, 0).reshape(given.size, -1).double())

    ours = dealt(batches)
    with together():
        for _, batch in ours:
            observe(module, batch, look)
    sums = merged_row([sums for _, sums in seen.values()])
    return {
        key: Observed(given, one.magnitude / one.count, one.squares / one.count)
        for (key, (given, _)), one in zip(seen.items(), sums, strict=True)
        if one.count
    }


def _sites(axes: Axes) -> dict[Node, list[tuple[Axis, Axis]]]:
    """Return for every node the axes of its outputs that a stored weight contracts, each with that of the weight."""
    found: dict[Node, list[tuple[Axis, Axis]]] = {}
    for role in (role for roles in axes.roles.values() for role in roles if role.kind == CONTRACT):
        for given, weight in (role.axes, role.axes[::-1]):
            if weight.value.node.op == "get_attr" and given.value.node.op != "get_attr":
                found.setdefault(given.value.node, []).append((given, weight))
    return found


def gradients_of(module: GraphModule, data: TrainingData, batches: int) -> dict[str, torch.Tensor]:
    """Return by name the gradients of the loss, summed over the first training batches, in evaluation mode."""
    parameters = {path: one for path, one in named_tensors(module) if isinstance(one, torch.nn.Parameter)}
    floating = list({id(one): one for one in parameters.values() if one.is_floating_point()}.values())
    wanted = [one.requires_grad for one in floating]
    for one in floating:
        one.requires_grad_(True)
    try:
        sums = _summed(module, data, floating, batches)
    finally:
        for one, flag in zip(floating, wanted, strict=True):
            one.requires_grad_(flag)
    return {path: sums[id(one)] for path, one in parameters.items() if id(one) in sums}


def _summed(
    module: GraphModule, data: TrainingData, parameters: list[torch.nn.Parameter], batches: int
) -> dict[int, torch.Tensor]:
    """Return by the id of each parameter that the loss depends on its gradient, summed over the first batches."""
    sums: dict[int, torch.Tensor] = {}
    for _, piece in zip(range(batches), slices(data, module), strict=False):
        with computed(piece):
            loss = data.loss_of(module, piece.inputs, piece.targets) * piece.share
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
        for one, gradient in zip(parameters, found, strict=True):
            if gradient is not None:
                sums[id(one)] = sums[id(one)] + gradient if id(one) in sums else gradient
    sum_tensors(list(sums.values()))
    return sums
