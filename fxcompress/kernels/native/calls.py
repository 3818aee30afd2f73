"""Calls of the native kernels with tensors."""

from __future__ import annotations

import copy
import ctypes
import functools
from collections.abc import Sequence

import torch
from torch.nn import functional

from fxcompress.kernels.behind import Behind
from fxcompress.kernels.native import structures
from fxcompress.kernels.native.build import library
from fxcompress.kernels.native.structures import NORMS, POSTS, address, strides_of

WIDTH = 16
FEATURES_AT_A_TIME = 4


class Packed:
    """Weights of linears as the kernels read them. The kernels see `structure`; the tensors keep its memory alive."""

    def __init__(self, integers: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None) -> None:
        """Pack int8 [outputs, features], features divisible by 4, float32 [outputs] and float32 [outputs] or None."""
        outputs, features = integers.shape
        idle = -outputs % WIDTH
        self.panels = torch.empty((outputs + idle) * features, dtype=torch.int8)
        self.sums = functional.pad(integers.sum(1, dtype=torch.int32), (0, idle))
        self.scales = functional.pad(scales, (0, idle))
        self.bias = torch.zeros(outputs + idle) if bias is None else functional.pad(bias, (0, idle))
        tensors = (self.panels, self.sums, self.scales, self.bias)
        self.structure = structures.Weights(*map(address, tensors), features, outputs)
        _library().fxc_pack(
            ctypes.c_void_p(integers.data_ptr()), ctypes.c_long(outputs), ctypes.c_long(features),
            ctypes.c_void_p(self.panels.data_ptr()),
        )  # fmt: skip

    def without_bias(self) -> Packed:
        """Return the same weights, whose products nothing is added to."""
        made = copy.copy(self)
        made.bias = torch.zeros_like(self.bias)
        tensors = (made.panels, made.sums, made.scales, made.bias)
        made.structure = structures.Weights(*map(address, tensors), self.structure.features, self.outputs)
        return made

    @property
    def outputs(self) -> int:
        return int(self.structure.outputs)


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
    made, into = _results(behind, rows, weights.outputs)
    read = structures.Tokens(*map(address, tokens), int(tokens[1].numel() > 1))
    _library().fxc_linear(
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
    made, into = _results(behind, *rows.shape)
    _library().fxc_rows(
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
    _library().fxc_attention(ctypes.byref(structure), ctypes.c_long(batch), torch.get_num_threads())
    return out


def _results(behind: Behind, rows: int, count: int) -> tuple[list[torch.Tensor], structures.Behind]:
    """Return new tensors for what `behind` wants, and the structure that points to them."""
    into = structures.Behind(
        POSTS[behind.post], address(behind.residual), NORMS[behind.norm], address(behind.norm_weight),
        address(behind.norm_bias), behind.eps,
    )  # fmt: skip
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


def _library() -> ctypes.CDLL:
    found = library()
    assert isinstance(found, ctypes.CDLL), found
    return found
