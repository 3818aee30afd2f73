"""Calls of the native kernels with tensors."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence

import torch

from fxcompress.kernels.behind import Behind
from fxcompress.kernels.native import structures
from fxcompress.kernels.native.build import kernels
from fxcompress.kernels.native.structures import NORMS, POSTS, address, strides_of
from fxcompress.kernels.native.weights import FEATURES_AT_A_TIME, Packed


def serves(features: int) -> bool:
    """Whether there is a kernel for rows of so many features."""
    return features > 0 and features % FEATURES_AT_A_TIME == 0


def linear(
    tokens: tuple[torch.Tensor, torch.Tensor, torch.Tensor], weights: Packed, behind: Behind
) -> list[torch.Tensor]:
    """Return the linear of tokens with all that stands behind it.

    Args:
        tokens: contiguous uint8 [rows, features], float32 and int32, both of [rows] or of [1] for all rows alike.
        weights: of as many features.
        behind: its tensors are contiguous float32.

    Returns:
        What `behind.outputs` names, [rows, outputs] each; see `Behind`.
    """
    rows = tokens[0].shape[0]
    made, into = results(behind, rows, weights.outputs)
    read = structures.Tokens(*map(address, tokens), int(tokens[1].numel() > 1))
    kernels().fxc_linear(
        ctypes.byref(read), ctypes.c_long(rows), ctypes.byref(weights.structure), ctypes.byref(into),
        torch.get_num_threads(),
    )  # fmt: skip
    return made


@functools.cache
def alike(scale: float, zero: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the scale and the zero point of tokens that have the same."""
    return torch.tensor([scale]), torch.tensor([zero], dtype=torch.int32)


def tokens_of(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return contiguous float32 [rows, features] as uint8, with a scale and a zero point for each row."""
    values, scales, zeros = finish(rows, Behind(outputs=("tokens",)))
    return values, scales, zeros


def finish(rows: torch.Tensor, behind: Behind) -> list[torch.Tensor]:
    """Return what stands behind a product whose result is contiguous float32 `rows`, as `linear` does."""
    made, into = results(behind, *rows.shape)
    kernels().fxc_rows(
        ctypes.c_void_p(rows.data_ptr()), ctypes.c_long(rows.shape[0]), ctypes.c_long(rows.shape[1]),
        ctypes.byref(into), torch.get_num_threads(),
    )  # fmt: skip
    return made


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    causal: bool,
    scale: float,
) -> torch.Tensor:
    """Return scaled dot-product attention.

    Args:
        query: float32 [batch, heads, rows, features]; the features of a row stand side by side.
        key, value: float32 [batch, heads or a divisor of them, columns, features], likewise.
        mask: float32 [batch, heads, rows, columns] with any strides, added to the scores.
        causal: row i sees columns 0 to i.
        scale: of the scores.

    Returns:
        float32 [batch, heads, rows, features], a view of contiguous [batch, rows, heads, features].
    """
    batch, heads, rows, features = query.shape
    out = query.new_empty(batch, rows, heads, features).transpose(1, 2)
    tensors = (query, key, value, mask, out)
    structure = structures.Attention(
        *map(address, tensors), *map(strides_of, tensors), mask.stride(3) if mask is not None else 0,
        heads, heads // key.shape[1], rows, key.shape[2], features, scale, causal,
    )  # fmt: skip
    kernels().fxc_attention(ctypes.byref(structure), ctypes.c_long(batch), torch.get_num_threads())
    return out


def results(behind: Behind, rows: int, count: int) -> tuple[list[torch.Tensor], structures.Behind]:
    """Return new tensors of [rows, count] for what `behind` wants, and the structure that points to them."""
    floats = behind.residual is None or behind.residual.dtype != torch.uint8
    into = structures.Behind(
        POSTS[behind.post], address(behind.residual) if floats else None, NORMS[behind.norm],
        address(behind.norm_weight), address(behind.norm_bias), behind.eps, late_post=POSTS[behind.late_post],
    )  # fmt: skip
    if not floats:
        into.residual_bytes = address(behind.residual)
        into.residual_scale, into.residual_zero = behind.residual_scale, behind.residual_zero
    if behind.fixed is not None:
        into.fixed_scale, into.fixed_zero = behind.fixed
    made: list[torch.Tensor] = []
    for name in behind.outputs:
        new = _tensors(name, rows, count)
        for field, tensor in zip(_FIELDS[name], new, strict=True):
            setattr(into, field, tensor.data_ptr())
        made += new
    return made, into


_FIELDS = {"sum": ("sum",), "out": ("out",), "tokens": ("bytes", "scales", "zeros"), "bytes": ("bytes",)}


def _tensors(name: str, rows: int, count: int) -> Sequence[torch.Tensor]:
    if name in ("sum", "out"):
        return (torch.empty(rows, count),)
    values = torch.empty(rows, count, dtype=torch.uint8)
    if name == "bytes":
        return (values,)
    return values, torch.empty(rows), torch.empty(rows, dtype=torch.int32)
