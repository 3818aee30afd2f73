"""What the operators share, in plain calls of torch: weights as floats, and what stands behind a product."""

from __future__ import annotations

import torch

from fxcompress.kernels.gpu.nibbles import unpack_nibbles
from fxcompress.kernels.products import POSTS, activated

BITS = (4, 8)


def dequantized(
    weight: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor | None, bits: int, group: int, columns: int
) -> torch.Tensor:
    """Return float32 [N, columns]: `(integer - zero) * scale`.

    Args:
        weight: int8 [N, columns], or uint8 [N, (columns + 1) / 2] where `bits` is 4.
        scales: [N] or [N, 1] where `group` is 0, else [N, columns / group], rounded up.
        zeros: of the shape of the scales, None for zeros.
        group: how many columns share a scale, 0 for all.
    """
    integers = unpack_nibbles(weight, columns) if bits == 4 else weight
    centred = integers.float()
    if zeros is not None:
        centred = centred.sub_(spread(zeros.float(), group, columns))
    return centred.mul_(spread(scales.float(), group, columns))


def spread(of_groups: torch.Tensor, group: int, columns: int) -> torch.Tensor:
    """Return what each group of columns has, [N, groups], for every column: [N, columns], or [N, 1] for one group."""
    rows = of_groups.view(of_groups.shape[0], -1)
    return rows if group == 0 else rows.repeat_interleave(group, 1)[:, :columns]


def finished(
    sums: torch.Tensor, bias: torch.Tensor | None, residual: torch.Tensor | None, activation: str, dtype: torch.dtype
) -> torch.Tensor:
    """Return `activation(sums + bias) + residual` of float32 sums, which are written over, as `dtype`."""
    if bias is not None:
        sums = sums.add_(bias.float())
    made = activated(sums, activation)
    if residual is not None:
        made = made.add_(residual.float())
    return made.to(dtype)


def check_activation(activation: str) -> None:
    """Refuse what is no activation function.

    Raises:
        ValueError: it is none of `POSTS`.
    """
    if activation not in POSTS:
        raise ValueError(f"activation {activation!r} is none of {', '.join(POSTS)}")


def check_stored(weight: torch.Tensor, scales: torch.Tensor, bits: int, group: int, columns: int) -> None:
    """Refuse a weight that does not fit its input and its scales.

    Raises:
        ValueError: says what does not fit.
    """
    if bits not in BITS:
        raise ValueError(f"weights have 4 or 8 bits, not {bits}")
    width, dtype = ((columns + 1) // 2, torch.uint8) if bits == 4 else (columns, torch.int8)
    if weight.dtype != dtype or weight.shape[1] != width:
        raise ValueError(f"a weight of {bits} bits for {columns} columns is {dtype} [N, {width}], not {_text(weight)}")
    groups = -(-columns // group) if group else 1
    if scales.numel() != weight.shape[0] * groups:
        raise ValueError(f"{weight.shape[0]} rows with {groups} groups each have other scales than {_text(scales)}")


def _text(tensor: torch.Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"
