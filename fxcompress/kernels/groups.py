"""Linears whose weights have a scale for each group of features."""

from __future__ import annotations

import torch
from torch.nn import functional

from fxcompress.kernels.backends import first_available
from fxcompress.kernels.behind import Behind
from fxcompress.kernels.held import held_groups
from fxcompress.kernels.library import define, define_native, made_when_called
from fxcompress.kernels.native import calls as native
from fxcompress.kernels.native.weights import PackedDigits
from fxcompress.kernels.packing import packed
from fxcompress.kernels.products import rows_of

GROUPS = ("native", "float")


def linear_groups(
    input: torch.Tensor,  # noqa: A002
    weight: torch.Tensor,
    scales: torch.Tensor,
    zeros: torch.Tensor | None,
    group: int,
    bias: torch.Tensor | None,
    backend: str,
) -> torch.Tensor:
    """Return a linear whose weights have a scale for each `group` of features.

    Args:
        input: float32 [..., features].
        weight: int8 [outputs, features].
        scales: float32 [outputs, features / group].
        zeros: zero points of the same shape, None for zeros.
        bias: float32 [outputs] or None.
        backend: `native` packs weights of 4 bits, two a byte, and makes floats of a few at a time; `float` keeps all
            of them as floats.

    Returns:
        float32 [..., outputs].
    """
    rows = rows_of(input)
    plain = None if bias is None else bias.detach()
    if first_available(backend, GROUPS) == "native" and rows.numel():
        digits = _digits(weight, scales, zeros, group, bias)
        if digits is not None:
            return native.group_linear(rows, digits, Behind())[0].view(*input.shape[:-1], weight.shape[0])
    made: torch.Tensor = functional.linear(rows, held_groups(weight, scales, zeros, group), plain)
    return made.view(*input.shape[:-1], weight.shape[0])


def _digits(
    weight: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor | None, group: int, bias: torch.Tensor | None
) -> PackedDigits | None:
    """Return weights of 4 bits packed, None where they have more."""

    def make() -> PackedDigits | None:
        return PackedDigits(weight, scales, zeros, group, bias) if native.fits_digits(weight, group) else None

    return packed(f"digits {group}", (weight, scales, zeros, bias), make)


def _fake(input: torch.Tensor, weight: torch.Tensor, *rest: object) -> torch.Tensor:  # noqa: A002
    return input.new_empty((*input.shape[:-1], weight.shape[0]), dtype=torch.float32)


def packed_digits(
    weight: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor | None, group: int, bias: torch.Tensor | None
) -> list[torch.Tensor]:
    """Return weights of 4 bits as the native kernels read them, for `native/boxed`; nothing where they have more."""
    digits = _digits(weight, scales, zeros, group, bias)
    return [] if digits is None else [digits.panels, digits.scales, digits.shifts, digits.bias]


define(
    "packed_digits(Tensor weight, Tensor scales, Tensor? zeros, int group, Tensor? bias) -> Tensor[]",
    packed_digits,
    made_when_called,
)
define_native(
    "linear_groups(Tensor input, Tensor weight, Tensor scales, Tensor? zeros, int group, Tensor? bias, str backend)"
    " -> Tensor",
    linear_groups,
    _fake,
)
