"""Weights as integers: the scales and zero points that their own range gives."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from fxcompress.errors import PassFailed
from fxcompress.schemes import Scheme
from fxcompress.weights import Weight

# Smaller groups would store more in scales than they save in bits.
SMALLEST_GROUP = 16


@dataclass(frozen=True)
class Rounded:
    """A weight in integers.

    Attributes:
        integers: int8, of the shape of the weight.
        scales: float32 [channels], [channels, groups] or [], the lengths of one step.
        zeros: of the shape of `scales`, the integers that stand for zero; None where all are zero.
    """

    integers: torch.Tensor
    scales: torch.Tensor
    zeros: torch.Tensor | None

    @property
    def nbytes(self) -> int:
        """The bytes that are stored; a single scale for the whole tensor stands in the graph."""
        scales = self.scales.nbytes if self.scales.dim() else 0
        return self.integers.nbytes + scales + (0 if self.zeros is None else self.zeros.nbytes)


def rows_of(weight: Weight, tensor: torch.Tensor, scheme: Scheme) -> torch.Tensor:
    """Return `tensor` as [scales, weights that share one]: the view in which a scheme rounds."""
    if scheme.granularity == "tensor":
        return tensor.reshape(1, -1)
    rows = tensor.movedim(weight.output_axis, 0)
    return rows.reshape(-1, scheme.group) if scheme.granularity == "group" else rows.reshape(rows.shape[0], -1)


def as_stored(weight: Weight, rows: torch.Tensor, scheme: Scheme) -> torch.Tensor:
    """Return what `rows_of` gave in the shape of the weight again."""
    if scheme.granularity == "tensor":
        return rows.reshape(weight.tensor.shape)
    moved = weight.tensor.movedim(weight.output_axis, 0)
    return rows.reshape(moved.shape).movedim(0, weight.output_axis).contiguous()


def round_weight(weight: Weight, scheme: Scheme) -> Rounded:
    """Return `weight` in steps of its scales, rounded half to even: no number is further off than half a step.

    Raises:
        PassFailed: a weight is not finite in float32.
    """
    rows = rows_of(weight, finite(weight), scheme)
    scales, zeros = parameters_of(rows.float(), scheme)
    steps = rows.double() / scales.double()[:, None]
    low, high = scheme.range
    offset = 0 if zeros is None else zeros.double()[:, None]
    integers = (steps.round() + offset).clamp(low, high).to(torch.int8)
    shape = scale_shape(weight, scheme)
    return Rounded(
        as_stored(weight, integers, scheme), scales.reshape(shape), None if zeros is None else zeros.reshape(shape)
    )


def finite(weight: Weight) -> torch.Tensor:
    """Return the tensor of `weight` without gradients.

    Raises:
        PassFailed: it is not finite in float32.
    """
    tensor = weight.tensor.detach()
    if not tensor.float().isfinite().all():
        raise PassFailed(f"{weight.path} holds numbers that are not finite", weight.readers[0])
    return tensor


def floats_of(weight: Weight, rounded: Rounded, scheme: Scheme) -> torch.Tensor:
    """Return float64 what `rounded` stands for, in the shape of the weight."""
    rows = rows_of(weight, rounded.integers.double(), scheme)
    if rounded.zeros is not None:
        rows = rows - rounded.zeros.double().reshape(-1, 1)
    return as_stored(weight, rows * rounded.scales.double().reshape(-1, 1), scheme)


def scale_shape(weight: Weight, scheme: Scheme) -> tuple[int, ...]:
    if scheme.granularity == "tensor":
        return ()
    channels = weight.tensor.shape[weight.output_axis]
    return (channels, -1) if scheme.granularity == "group" else (channels,)


def parameters_of(rows: torch.Tensor, scheme: Scheme) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the float32 scale of each of `rows`, and its zero point where the scheme has some.

    Symmetric scales map the largest magnitude to the largest integer; affine ones map the range, zero included, to all
    integers. Rows of zeros have scale 1. Powers of two are the smallest that hold the largest magnitude.
    """
    low, high = scheme.range
    if scheme.symmetric:
        scales = rows.abs().amax(1) / high
        if scheme.format == "pow2":
            scales = power_above(scales)
        return torch.where(scales > 0, scales, torch.ones_like(scales)), None
    least, most = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
    scales = (most.double() - least.double()).div(high - low).float()
    scales = torch.where(scales > 0, scales, torch.ones_like(scales))
    zeros = (low - least.double() / scales.double()).round().clamp(low, high)
    return scales, zeros.to(torch.int8)


def power_above(scales: torch.Tensor) -> torch.Tensor:
    """Return for each number the smallest power of two that is not below it; zero for zero."""
    mantissas, exponents = torch.frexp(scales.double())
    powers = torch.ldexp(torch.ones_like(mantissas), exponents - (mantissas == 0.5).int())
    return torch.where(scales > 0, powers, torch.zeros_like(powers)).float()


def fitted(weight: Weight, scheme: Scheme) -> tuple[Scheme | None, str | None]:
    """Return the scheme that `weight` can have, None for none, and why it is not the one asked for."""
    if scheme.format == "bf16" and weight.tensor.element_size() <= 2:
        return None, "left alone, it has 16 bits already"
    if scheme.format == "fp8" and weight.tensor.element_size() <= 1:
        return None, "left alone, it has 8 bits already"
    if scheme.format == "fp8" and scheme.granularity != "channel":
        return replace(scheme, granularity="channel", group=0), "one scale a channel, as fp8 has it"
    if scheme.granularity != "group":
        return scheme, None
    inputs = weight.tensor.numel() // max(1, weight.tensor.shape[weight.output_axis])
    group = math.gcd(inputs, scheme.group)
    if group == scheme.group:
        return scheme, None
    if group >= SMALLEST_GROUP:
        return replace(scheme, group=group), f"in groups of {group}, since a channel has {inputs} weights"
    without = replace(scheme, granularity="channel", group=0)
    return without, f"one scale a channel, since {inputs} weights make no groups of {scheme.group}"
