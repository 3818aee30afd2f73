"""Batch norm over a batch whose samples are spread over processes: all normalize by the statistics of the whole."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from fxcompress.distributed.links import stacked, summed

aten = torch.ops.aten


class JoinedBatchNorm(TorchFunctionMode):
    """Within, calls of `aten.batch_norm` in training take mean and variance over the samples of all processes.

    The gradient is that of the whole batch too. Torch's own SyncBatchNorm is a module, and for CUDA alone; a captured
    graph calls the operator, on any device.

    Args:
        counts: whether the samples of this process are part of the batch; it takes part in the exchange in any case.
    """

    def __init__(self, *, counts: bool = True) -> None:
        super().__init__()
        self.counts = counts

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func is aten.batch_norm.default:
            names = (argument.name for argument in func._schema.arguments)
            bound = {**dict(zip(names, args, strict=False)), **given}
            if bound["training"]:
                return self._normalized(bound)
        return func(*args, **given)

    def _normalized(self, bound: dict[str, Any]) -> torch.Tensor:
        given = bound["input"]
        mean, variance, count = whole_statistics(given.detach(), self.counts)
        with torch.no_grad():
            _follow(bound["running_mean"], mean, bound["momentum"])
            _follow(bound["running_var"], variance * (count / max(1.0, count - 1)), bound["momentum"])
        inverse = (variance + bound["eps"]).rsqrt()
        normal: torch.Tensor = _Normalized.apply(given, mean, inverse, count if self.counts else 0.0)
        for name, change in (("weight", torch.Tensor.mul), ("bias", torch.Tensor.add)):
            if bound[name] is not None:
                normal = change(normal, _along(bound[name], given))
        return normal.to(given.dtype)


class _Normalized(torch.autograd.Function):
    """(x - mean) * inverse, where mean and inverse depend on the x of all processes; for a count of 0 not on ours."""

    @staticmethod
    def forward(ctx: Any, given: torch.Tensor, mean: torch.Tensor, inverse: torch.Tensor, count: float) -> torch.Tensor:
        kind = torch.promote_types(given.dtype, torch.float32)
        normal = (given.to(kind) - _along(mean, given).to(kind)) * _along(inverse, given).to(kind)
        ctx.save_for_backward(normal, inverse)
        ctx.count, ctx.kind = count, given.dtype
        return normal

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        normal, inverse = ctx.saved_tensors
        axes = _others(gradient)
        sums = summed(torch.stack([gradient.sum(axes), (gradient * normal).sum(axes)]).double())
        sums = sums / ctx.count if ctx.count else torch.zeros_like(sums)
        first, second = (_along(row, gradient).to(gradient.dtype) for row in sums)
        made = (gradient - first - normal * second) * _along(inverse, gradient).to(gradient.dtype)
        return made.to(ctx.kind), None, None, None


def whole_statistics(given: torch.Tensor, counts: bool) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Return float64 [channels] mean and variance (with the count below it) over all processes, and the count.

    Means and variances of parts are joined as Chan, Golub and LeVeque do it (1979), in the order of the ranks.
    """
    kind = torch.promote_types(given.dtype, torch.float32)
    variance, mean = torch.var_mean(given.to(kind), _others(given), correction=0)
    own = given.numel() // given.shape[1] if counts else 0
    rows = stacked(torch.cat([mean.double(), variance.double(), mean.new_tensor([own]).double()]))
    weights = rows[:, -1:]
    total = weights.sum()
    means, variances = rows[:, :-1].chunk(2, 1)
    joined = (means * weights).sum(0) / total
    spread = ((variances + (means - joined).square()) * weights).sum(0) / total
    return joined, spread, float(total)


def _follow(running: torch.Tensor | None, now: torch.Tensor, momentum: float) -> None:
    if running is not None:
        running.mul_(1 - momentum).add_(now.to(running.dtype), alpha=momentum)


def _others(tensor: torch.Tensor) -> list[int]:
    """Return all axes but that of the channels."""
    return [axis for axis in range(tensor.dim()) if axis != 1]


def _along(row: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """Return [channels] so that it broadcasts over `tensor`."""
    return row.view(1, -1, *[1] * (tensor.dim() - 2))
