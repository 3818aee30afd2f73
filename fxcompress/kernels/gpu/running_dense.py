"""Weights of few bits made floats on a GPU, for products of many rows."""

from __future__ import annotations

import torch
from torch.nn import functional

from fxcompress.kernels.gpu.jit_dequantizing import dequantizing_kernel
from fxcompress.kernels.gpu.launching import Launch, or_other
from fxcompress.kernels.gpu.reducing import reduction

Tensor = torch.Tensor
BLOCK_N, BLOCK_K = 16, 256


def dequantizing(weight: Tensor, scales: Tensor, zeros: Tensor | None, bits: int, group: int, output: Tensor) -> Launch:
    """Return what writes the weight into floats [N, K]; see `fxcompress.kernels.gpu.plain.dequantized`."""
    rows, columns = output.shape
    groups = -(-columns // group) if group else 1
    constants = {"BITS": bits, "GROUP": group, "AFFINE": zeros is not None, "BLOCK_N": BLOCK_N, "BLOCK_K": BLOCK_K}
    arguments = (weight, scales, or_other(zeros, scales), output, rows, columns, weight.shape[1], groups)
    return Launch(dequantizing_kernel, (-(-rows // BLOCK_N), -(-columns // BLOCK_K)), arguments, constants)


def dense_weight(
    weight: Tensor, scales: Tensor, zeros: Tensor | None, bits: int, group: int, columns: int, dtype: torch.dtype
) -> Tensor:
    """Return the weight as `dtype` [N, columns]."""
    output = torch.empty((weight.shape[0], columns), dtype=dtype, device=weight.device)
    zeros = None if zeros is None else zeros.contiguous()
    dequantizing(weight.contiguous(), scales.contiguous(), zeros, bits, group, output).run()
    return output


def dense_linear(rows: Tensor, dense: Tensor, bias: Tensor | None, residual: Tensor | None, activation: str) -> Tensor:
    """Return `activation(rows @ dense^T + bias) + residual`, the product by torch and the rest in one kernel."""
    if activation == "none" and residual is None:
        return functional.linear(rows, dense, None if bias is None else bias.to(rows.dtype))
    product = functional.linear(rows, dense)
    output = torch.empty_like(product)
    flat = None if residual is None else residual.contiguous()
    reduction(product.unsqueeze(0), None, bias, flat, output, activation).run()
    return output
