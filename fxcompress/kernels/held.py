"""Stored integers as floats that are kept from call to call, for layers that no kernel calculates in integers."""

from __future__ import annotations

import torch

from fxcompress.kernels.library import define_native
from fxcompress.kernels.packing import packed


def held_channels(
    integers: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor | None, axis: int, transposed: bool = False
) -> torch.Tensor:
    """Return integers of any shape as float32, with scales and zero points (or zeros) of each place along `axis`.

    A matrix that is to be `transposed` is so before all else.

    The result is the same tensor at every call, as long as nothing is written into the operands: it is not to be
    written into either.
    """

    def make() -> torch.Tensor:
        source = integers.detach().t().contiguous() if transposed else integers.detach()
        shape = [-1 if at == axis % source.dim() else 1 for at in range(source.dim())]
        centred = source.float()
        if zeros is not None:
            centred = centred - zeros.detach().float().view(shape)
        return centred * scales.detach().float().view(shape)

    return packed(f"held {axis} {transposed}", (integers, scales, zeros), make)


def held_tensor(integers: torch.Tensor, scale: float, zero: int) -> torch.Tensor:
    """Return integers as float32, with one scale and zero point for all; kept as of `held_channels`."""

    def make() -> torch.Tensor:
        return (integers.detach().float() - zero) * scale

    return packed(f"held {scale} {zero}", (integers,), make)


def held_groups(integers: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor | None, group: int) -> torch.Tensor:
    """Return integers [rows, features] as float32, with a scale for each `group` of features.

    Args:
        integers: int8.
        scales: float32 [rows, features / group].
        zeros: zero points of the same shape, None for zeros.
        group: features that share a scale.

    Returns:
        float32 [rows, features], kept as of `held_channels`.
    """

    def make() -> torch.Tensor:
        parts = integers.detach().float().view(integers.shape[0], -1, group)
        centred = parts if zeros is None else parts - zeros.detach().view(*parts.shape[:2], 1)
        return (centred * scales.detach().float().view(*parts.shape[:2], 1)).flatten(1)

    return packed(f"held groups of {group}", (integers, scales, zeros), make)


def held_transposed(integers: torch.Tensor) -> torch.Tensor:
    """Return the transpose of a matrix of integers, with rows of its own in memory; kept as of `held_channels`."""
    return packed("held transposed", (integers,), lambda: integers.detach().t().contiguous())


def held_product(stored: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Return small floats of any shape as float32, times scales that are broadcast; kept as of `held_channels`."""
    return packed("held product", (stored, scales), lambda: stored.detach().float() * scales.detach())


def _fake(integers: torch.Tensor, *rest: object) -> torch.Tensor:
    return torch.empty_like(integers, dtype=torch.float32)


def _fake_channels(
    integers: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor | None, axis: int, transposed: bool = False
) -> torch.Tensor:
    return torch.empty_like(integers.t().contiguous() if transposed else integers, dtype=torch.float32)


define_native(
    "held_channels(Tensor integers, Tensor scales, Tensor? zeros, int axis, bool transposed=False) -> Tensor",
    held_channels,
    _fake_channels,
)
define_native("held_transposed(Tensor integers) -> Tensor", held_transposed, lambda integers: integers.t().contiguous())
define_native("held_product(Tensor stored, Tensor scales) -> Tensor", held_product, _fake)
define_native("held_tensor(Tensor integers, float scale, int zero) -> Tensor", held_tensor, _fake)
define_native("held_groups(Tensor integers, Tensor scales, Tensor? zeros, int group) -> Tensor", held_groups, _fake)
