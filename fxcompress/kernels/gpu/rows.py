"""Rows of activations in 8 bits, each with its own scale: alone, or behind the norm or activation that makes them."""

from __future__ import annotations

import torch
from torch.nn import functional

from fxcompress.kernels.activations import SMALLEST_SCALE
from fxcompress.kernels.gpu.dispatching import on_gpu
from fxcompress.kernels.library import define
from fxcompress.kernels.products import POSTS, activated

Tensor = torch.Tensor
FP8 = torch.float8_e4m3fn
# The largest magnitude of each format.
LARGEST = {torch.int8: 127.0, FP8: 448.0}
NORMS = ("layer", "rms")
KINDS = (*NORMS, *POSTS)


def quantize_rows(input: Tensor, *, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:  # noqa: A002
    """Quantize every row symmetrically, by its largest magnitude.

    Args:
        input: float16, bfloat16 or float32 [..., K].
        dtype: int8, which is meant by None, or float8_e4m3fn.

    Returns:
        values of `dtype` [..., K], and float32 scales [...]: a row is about its values times its scale.
    """
    return _quantized(input.float(), dtype)


def norm_quantize_rows(
    input: Tensor,  # noqa: A002
    other: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    kind: str,
    eps: float,
    *,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """Quantize every row of a norm's or of an activation function's result, which is not rounded before.

    Args:
        input: float16, bfloat16 or float32 [..., K].
        other: of the shape of the input: what the result is multiplied with, as the gates of SwiGLU are; or None.
        weight: [K] of a norm, or None.
        bias: [K] of a layer norm, or None.
        kind: `layer` or `rms`, or one of `POSTS`.
        eps: of a norm.
        dtype: int8, which is meant by None, or float8_e4m3fn.

    Returns:
        as `quantize_rows`.
    """
    _check_kind(kind)
    made = _behind(input.float(), weight, bias, kind, eps)
    return _quantized(made if other is None else made * other.float(), dtype)


def _behind(wide: Tensor, weight: Tensor | None, bias: Tensor | None, kind: str, eps: float) -> Tensor:
    shape = wide.shape[-1:]
    scale = None if weight is None else weight.float()
    if kind == "layer":
        return functional.layer_norm(wide, shape, scale, None if bias is None else bias.float(), eps)
    if kind == "rms":
        return functional.rms_norm(wide, shape, scale, eps)
    return activated(wide.clone(), kind)


def _quantized(wide: Tensor, dtype: torch.dtype | None) -> tuple[Tensor, Tensor]:
    chosen = dtype or torch.int8
    largest = LARGEST[chosen]
    scales = wide.abs().amax(-1).div(largest).clamp_min_(SMALLEST_SCALE)
    steps = wide.mul(scales.reciprocal().unsqueeze(-1))
    if chosen == torch.int8:
        steps = steps.round_()
    return steps.clamp_(-largest, largest).to(chosen), scales


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is none of {', '.join(KINDS)}")


def _fake(input: Tensor, *, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:  # noqa: A002
    scales = input.new_empty(input.shape[:-1], dtype=torch.float32)
    return torch.empty_like(input, dtype=dtype or torch.int8, memory_format=torch.contiguous_format), scales


def _fake_norm(
    input: Tensor,  # noqa: A002
    other: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    kind: str,
    eps: float,
    *,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    _check_kind(kind)
    return _fake(input, dtype=dtype)


define("gpu_quantize_rows(Tensor input, *, ScalarType? dtype=None) -> (Tensor, Tensor)", quantize_rows, _fake)
define(
    "gpu_norm_quantize_rows(Tensor input, Tensor? other, Tensor? weight, Tensor? bias, str kind, float eps, *,"
    " ScalarType? dtype=None) -> (Tensor, Tensor)",
    norm_quantize_rows,
    _fake_norm,
)
on_gpu("gpu_quantize_rows", "running_rows.quantize_rows", quantize_rows)
on_gpu("gpu_norm_quantize_rows", "running_rows.norm_quantize_rows", norm_quantize_rows)
