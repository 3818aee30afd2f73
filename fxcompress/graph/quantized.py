"""The quantize and dequantize operators of `torch.ops.quantized_decomposed`, present whatever torch ships."""

from __future__ import annotations

import functools
import importlib
import warnings

import torch

# The schemas in which torch itself defines them; PT2E, ExecuTorch and the ONNX exporter read these names.
_SCHEMAS = (
    "quantize_per_tensor(Tensor input, float scale, int zero_point, int quant_min, int quant_max,"
    " ScalarType dtype) -> Tensor",
    "dequantize_per_tensor(Tensor input, float scale, int zero_point, int quant_min, int quant_max,"
    " ScalarType dtype, *, ScalarType? out_dtype=None) -> Tensor",
    "quantize_per_channel(Tensor input, Tensor scales, Tensor zero_points, int axis, int quant_min, int quant_max,"
    " ScalarType dtype) -> Tensor",
    "dequantize_per_channel(Tensor input, Tensor scales, Tensor? zero_points, int axis, int quant_min, int quant_max,"
    " ScalarType dtype, *, ScalarType? out_dtype=None) -> Tensor",
    "dequantize_per_channel_group(Tensor input, Tensor scales, Tensor? zero_points, int quant_min, int quant_max,"
    " ScalarType dtype, int group_size, ScalarType output_dtype) -> Tensor",
    "choose_qparams_per_token_asymmetric(Tensor input, ScalarType dtype) -> (Tensor, Tensor)",
    "quantize_per_token(Tensor input, Tensor scales, Tensor zero_points, int quant_min, int quant_max,"
    " ScalarType dtype) -> Tensor",
    "dequantize_per_token(Tensor input, Tensor scales, Tensor zero_points, int quant_min, int quant_max,"
    " ScalarType dtype, ScalarType output_dtype) -> Tensor",
)


def quantized_decomposed() -> torch._ops._OpNamespace:
    """Return `torch.ops.quantized_decomposed` with its operators: torch's own, else ours of the same schemas."""
    try:
        with warnings.catch_warnings():
            # Importing any part of torch.ao warns that parts of it move to torchao; the operators stay.
            warnings.simplefilter("ignore")
            importlib.import_module("torch.ao.quantization.fx._decomposed")
    except ImportError:
        _define()
    return torch.ops.quantized_decomposed


@functools.cache
def _define() -> torch.library.Library:
    """Define the operators; the cache keeps the library alive, and with it what it registered."""
    library = torch.library.Library("quantized_decomposed", "FRAGMENT")
    implementations = (
        quantize_per_tensor,
        dequantize_per_tensor,
        quantize_per_channel,
        dequantize_per_channel,
        dequantize_per_channel_group,
        choose_qparams_per_token_asymmetric,
        quantize_per_token,
        dequantize_per_token,
    )
    for schema, implementation in zip(_SCHEMAS, implementations, strict=True):
        library.define(schema)
        library.impl(implementation.__name__, implementation, "CompositeExplicitAutograd")
    return library


def quantize_per_tensor(
    values: torch.Tensor, scale: float, zero: int, low: int, high: int, dtype: torch.dtype
) -> torch.Tensor:
    """Return `values / scale + zero`, rounded half to even, clamped to `low..high`, as `dtype`."""
    return torch.clamp(torch.round(values * (1.0 / scale)) + zero, low, high).to(dtype)


def dequantize_per_tensor(
    values: torch.Tensor,
    scale: float,
    zero: int,
    low: int,
    high: int,
    dtype: torch.dtype,
    *,
    out_dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Return `(values - zero) * scale` as `out_dtype`, float32 where none is given."""
    return ((values.to(torch.float32) - zero) * scale).to(out_dtype or torch.float32)


def quantize_per_channel(
    values: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor, axis: int, low: int, high: int, dtype: torch.dtype
) -> torch.Tensor:
    """Return `quantize_per_tensor` of every slice of `values` along `axis`, each with its own scale and zero point."""
    shape = [-1 if dim == axis else 1 for dim in range(values.dim())]
    scaled = torch.round(values * (1.0 / scales.view(shape))) + zeros.view(shape)
    return torch.clamp(scaled, low, high).to(dtype)


def dequantize_per_channel(
    values: torch.Tensor,
    scales: torch.Tensor,
    zeros: torch.Tensor | None,
    axis: int,
    low: int,
    high: int,
    dtype: torch.dtype,
    *,
    out_dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Return `dequantize_per_tensor` of every slice of `values` along `axis`; no zero points means zeros."""
    shape = [-1 if dim == axis else 1 for dim in range(values.dim())]
    centred = values.to(torch.float32)
    if zeros is not None:
        centred = centred - zeros.view(shape)
    return (centred * scales.view(shape)).to(out_dtype or torch.float32)


def dequantize_per_channel_group(
    values: torch.Tensor,
    scales: torch.Tensor,
    zeros: torch.Tensor | None,
    low: int,
    high: int,
    dtype: torch.dtype,
    group: int,
    out_dtype: torch.dtype,
) -> torch.Tensor:
    """Return `dequantize_per_tensor` of every `group` of columns of [rows, columns] values.

    `scales` and `zeros` are [rows, columns / group]; no zero points means zeros.
    """
    centred = values.to(torch.float32).reshape(-1, group)
    if zeros is not None:
        centred = centred - zeros.reshape(-1, 1)
    return (centred * scales.reshape(-1, 1)).reshape(values.shape).to(out_dtype)


def choose_qparams_per_token_asymmetric(values: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Return float64 scales and int64 zero points [..., 1] that map the range of each token, and zero, to -128..127."""
    least, most = values.amin(-1, keepdim=True).clamp(max=0), values.amax(-1, keepdim=True).clamp(min=0)
    scales = ((most - least) / 255.0).clamp(min=torch.finfo(torch.float32).eps)
    below, above = least / scales, most / scales
    # Of the two ends the one counts that the integers meet with the smaller error.
    zeros = torch.where(-128 + below + 127 + above > 0, -128 - below, 127 - above)
    return scales.to(torch.float64), zeros.clamp(-128, 127).round().to(torch.int64)


def quantize_per_token(
    values: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor, low: int, high: int, dtype: torch.dtype
) -> torch.Tensor:
    """Return `values / scales + zeros`, rounded half to even, clamped to `low..high`; scales and zeros are [..., 1]."""
    return (values * (1.0 / scales) + zeros).round().clamp(low, high).to(dtype)


def dequantize_per_token(
    values: torch.Tensor,
    scales: torch.Tensor,
    zeros: torch.Tensor,
    low: int,
    high: int,
    dtype: torch.dtype,
    out_dtype: torch.dtype,
) -> torch.Tensor:
    """Return `(values - zeros) * scales` as `out_dtype`; scales and zeros are [..., 1]."""
    return ((values - zeros) * scales).to(out_dtype)
