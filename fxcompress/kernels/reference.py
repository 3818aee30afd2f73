"""What the operators calculate, in float64 and step by step: the witness of their tests."""

from __future__ import annotations

import torch


def tokens(values: torch.Tensor) -> torch.Tensor:
    """Return `values` after 8-bit affine quantization of each row and back, float64."""
    wide = values.double()
    low = wide.amin(-1, keepdim=True).clamp(max=0)
    high = wide.amax(-1, keepdim=True).clamp(min=0)
    scale = ((high - low) / 255).clamp(min=torch.finfo(torch.float32).tiny)
    zero = (-128 - low / scale).round()
    return ((wide / scale + zero).round().clamp(-128, 127) - zero) * scale


def weights(integers: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Return int8 weights, output channels first, times the scale of their channel, float64."""
    return integers.double() * scales.double().view(-1, *[1] * (integers.dim() - 1))


def linear(values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return the product of float64 `values` and `weight` plus `bias`, float64."""
    return torch.nn.functional.linear(values, weight, None if bias is None else bias.double())


def post(values: torch.Tensor, name: str) -> torch.Tensor:
    """Return `values` after the activation function `name`."""
    if name == "relu":
        return values.relu()
    if name in ("gelu", "gelu_tanh"):
        return torch.nn.functional.gelu(values, approximate="tanh" if name == "gelu_tanh" else "none")
    return values


def integers(values: torch.Tensor, scale: float, zero: int) -> torch.Tensor:
    """Return `values` in steps of `scale` above `zero`, within 0..255, float64."""
    return (values.double() / scale).round().add(zero).clamp(0, 255)


def floats(values: torch.Tensor, scale: float, zero: int) -> torch.Tensor:
    """Return what the integers `values` stand for, float64."""
    return (values.double() - zero) * scale
