"""Quantized graphs drawn call by call: the patterns that `quantize` leaves, of every scheme."""

from __future__ import annotations

import operator

import torch
from nets import Draft
from torch.fx import Node

from fxcompress.graph.quantized import quantized_decomposed

aten = torch.ops.aten


def near(result: torch.Tensor, want: torch.Tensor, tolerance: float = 2e-3) -> bool:
    """Whether the two differ by no more than steps that fell to the other side here and there."""
    return float((result - want).detach().abs().max()) <= tolerance * float(want.detach().abs().max())


class QuantizedDraft(Draft):
    """A draft with the patterns of quantized layers."""

    def weight(self, path: str, *shape: int) -> Node:
        integers = self.tensor(f"{path}.weight", torch.randint(-127, 128, shape, dtype=torch.int8), buffer=True)
        scales = self.tensor(f"{path}.weight_scale", torch.rand(shape[0]) / 100 + 1e-4, buffer=True)
        target = quantized_decomposed().dequantize_per_channel.default
        return self.call(target, integers, scales, None, 0, -127, 127, torch.int8, out_dtype=torch.float32)

    def grouped_weight(self, path: str, outputs: int, features: int, group: int) -> Node:
        integers = self.tensor(
            f"{path}.weight", torch.randint(-8, 8, (outputs, features), dtype=torch.int8), buffer=True
        )
        scales = self.tensor(f"{path}.weight_scale", torch.rand(outputs, features // group) / 10, buffer=True)
        target = quantized_decomposed().dequantize_per_channel_group.default
        return self.call(target, integers, scales, None, -8, 7, torch.int8, group, torch.float32)

    def bias(self, path: str, outputs: int) -> Node:
        return self.tensor(f"{path}.bias", torch.randn(outputs))

    def linear(self, x: Node, path: str, outputs: int, features: int, biased: bool = True) -> Node:
        bias = self.bias(path, outputs) if biased else None
        return self.call(aten.linear.default, x, self.weight(path, outputs, features), bias)

    def by_rows(self, x: Node) -> Node:
        decomposed = quantized_decomposed()
        chosen = self.call(decomposed.choose_qparams_per_token_asymmetric.default, x, torch.int8)
        numbers = [self.graph.call_function(operator.getitem, (chosen, index)) for index in (0, 1)]
        quantized = self.call(decomposed.quantize_per_token.default, x, *numbers, -128, 127, torch.int8)
        return self.call(
            decomposed.dequantize_per_token.default, quantized, *numbers, -128, 127, torch.int8, torch.float32
        )

    def static(self, x: Node, scale: float = 0.03, zero: int = 120) -> Node:
        decomposed = quantized_decomposed()
        quantized = self.call(decomposed.quantize_per_tensor.default, x, scale, zero, 0, 255, torch.uint8)
        return self.call(
            decomposed.dequantize_per_tensor.default,
            quantized,
            scale,
            zero,
            0,
            255,
            torch.uint8,
            out_dtype=torch.float32,
        )
