"""Quantization of activations: each row by its own range, or all by given numbers, in few passes over memory."""

from __future__ import annotations

from typing import NamedTuple

import torch

LOW, HIGH = -128, 127
# The smallest number whose reciprocal is finite and which no processor flushes to zero.
SMALLEST_SCALE = torch.finfo(torch.float32).tiny
# 127 * 256 + 127: both bytes of a number up to here lie within -128..127.
LARGEST_WIDE = 32639


class Rows(NamedTuple):
    """Rows of int8, [rows, features], and for each row its scale and its zero point, float32 [rows, 1]."""

    values: torch.Tensor
    scales: torch.Tensor
    zeros: torch.Tensor


def quantize_rows(rows: torch.Tensor) -> Rows:
    """Quantize every row of float32 [rows, features] affinely to int8, by its own range with 0 in it.

    It is the arithmetic of `choose_token_range` and `quantize_per_token` but for the last bit of a
    quotient. `aminmax` would read the rows once instead of twice, and takes eight times as long.
    """
    low = torch.amin(rows, -1, True).clamp_max_(0.0)
    scales = torch.amax(rows, -1, True).clamp_min_(0.0).sub_(low).div_(HIGH - LOW).clamp_min_(SMALLEST_SCALE)
    zeros = low.div_(scales).neg_().add_(LOW).round_()
    values = rows.mul(scales.reciprocal()).add_(zeros).round_().clamp_(LOW, HIGH).to(torch.int8)
    return Rows(values, scales, zeros)


def quantize_all(values: torch.Tensor, scale: float, zero: int) -> torch.Tensor:
    """Quantize float32 to uint8 with one scale and one zero point, as `quantize_per_tensor` does."""
    steps = values.mul(1.0 / scale).round_().add_(zero - 128).clamp_(LOW, HIGH)
    # The way over int8 takes a third of the time of a conversion to uint8.
    return unsigned(steps.to(torch.int8))


def split_rows(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Write every row of float32 [rows, features] in 16-bit fixed point, as two digits of 8 bits.

    Returns:
        int8 [2 * rows, features], first the high digits of all rows, then the low ones; and the float32 scales,
        [rows, 1]: a row is `scale * (256 * high + low)`.
    """
    scales = torch.amax(rows.abs(), -1, True).div_(LARGEST_WIDE).clamp_min_(torch.finfo(torch.float32).tiny)
    low = rows.div(scales).round_()
    high = low.add(128).mul_(1 / 256).floor_()
    digits = rows.new_empty((2, *rows.shape), dtype=torch.int8)
    digits[0].copy_(high)
    digits[1].copy_(low.sub_(high, alpha=256))
    return digits.flatten(0, 1), scales


def unsigned(values: torch.Tensor) -> torch.Tensor:
    """Return int8 values plus 128, as uint8, in the memory of `values`."""
    return values.view(torch.uint8).bitwise_xor_(128)


def signed(values: torch.Tensor) -> torch.Tensor:
    """Return uint8 values minus 128, as int8, in new memory."""
    return values.bitwise_xor(128).view(torch.int8)
