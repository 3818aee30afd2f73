"""Random weights of few bits with what they stand for in float64, and activation functions by torch."""

from __future__ import annotations

import torch
from torch.nn import functional

from fxcompress.kernels.gpu.nibbles import pack_nibbles

ACTIVATIONS = {
    "none": lambda x: x,
    "relu": torch.relu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
}


def stored_weight(outputs, features, bits, group, affine):
    """A random weight as the operator takes it, and in float64."""
    low, high = (-8, 8) if bits == 4 else (-128, 128)
    integers = torch.randint(low, high, (outputs, features), dtype=torch.int8)
    groups = -(-features // group) if group else 1
    scales = torch.rand(outputs, groups) * 0.1 + 0.01
    zeros = torch.randint(low, high, (outputs, groups), dtype=torch.int8) if affine else None
    wide = torch.empty(outputs, features, dtype=torch.float64)
    for column in range(features):
        at = column // group if group else 0
        centred = integers[:, column].double() - (zeros[:, at].double() if affine else 0)
        wide[:, column] = centred * scales[:, at].double()
    if group == 0:
        scales, zeros = scales.view(-1), None if zeros is None else zeros.view(-1)
    return (pack_nibbles(integers) if bits == 4 else integers), scales, zeros, wide
