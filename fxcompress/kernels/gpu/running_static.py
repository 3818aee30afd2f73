"""Tensors in int8 by one scale and one zero point on a GPU."""

from __future__ import annotations

import torch

from fxcompress.kernels.gpu.jit_static import quantize_kernel
from fxcompress.kernels.gpu.launching import Launch

Tensor = torch.Tensor
BLOCK = 1024


def quantize_tensor(input: Tensor, scale: float, zero: int) -> Tensor:  # noqa: A002
    """See `fxcompress.kernels.gpu.static.quantize_tensor`."""
    values = torch.empty(input.shape, dtype=torch.int8, device=input.device)
    if values.numel():
        launch(input.contiguous(), scale, zero, values).run()
    return values


def launch(given: Tensor, scale: float, zero: int, values: Tensor) -> Launch:
    """Return what writes a contiguous tensor into `values`, int8 of as many elements."""
    count = given.numel()
    arguments = (given, values, count, 1.0 / scale, float(zero))
    return Launch(quantize_kernel, (-(-count // BLOCK),), arguments, {"BLOCK": BLOCK})
