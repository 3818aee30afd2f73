"""A tensor in int8 by one scale and one zero point."""

from __future__ import annotations

import torch

from fxcompress.kernels.gpu.dispatching import on_gpu
from fxcompress.kernels.library import define

Tensor = torch.Tensor


def quantize_tensor(input: Tensor, scale: float, zero: int) -> Tensor:  # noqa: A002
    """Return `input / scale + zero`, rounded half to even and clamped to -128..127, as int8 of the shape of `input`.

    Args:
        input: float16, bfloat16 or float32 [..., K].
        scale: of one step.
        zero: what 0.0 becomes.
    """
    steps = input.float().mul(1.0 / scale).round_().add_(zero)
    return steps.clamp_(-128, 127).to(torch.int8).contiguous()


def _fake(input: Tensor, scale: float, zero: int) -> Tensor:  # noqa: A002
    return torch.empty_like(input, dtype=torch.int8, memory_format=torch.contiguous_format)


define("gpu_quantize_tensor(Tensor input, float scale, int zero) -> Tensor", quantize_tensor, _fake)
on_gpu("gpu_quantize_tensor", "running_static.quantize_tensor", quantize_tensor)
