"""The weights of linears as the backends want them: several side by side, packed, with the sums of their rows."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from typing import Any

import torch

from fxcompress.kernels.native.weights import Packed
from fxcompress.kernels.packing import packed

Tensors = Sequence[torch.Tensor]
Optionals = Sequence[torch.Tensor | None]


class Layers:
    """Linears that read the same input, as one. What a backend wants of them is made when it is first asked for.

    Attributes:
        integers: int8 [outputs, features].
        scales: float32 [outputs].
        bias: float32 [outputs], None where no layer has one.
        outputs: how many outputs there are.
    """

    def __init__(self, weights: Tensors, scales: Tensors, biases: Optionals) -> None:
        plain = [weight.detach() for weight in weights]
        self.integers = (plain[0] if len(plain) == 1 else torch.cat(plain)).contiguous()
        self.scales = torch.cat([scale.detach().float().reshape(-1) for scale in scales])
        self.bias = join_biases(plain, biases)
        self.outputs = self.integers.shape[0]
        self._moved: dict[int, torch.Tensor] = {}

    @functools.cached_property
    def row_sums(self) -> torch.Tensor:
        """int64 [outputs], the sum of each row of weights."""
        return self.integers.sum(1, dtype=torch.int64)

    @functools.cached_property
    def sums(self) -> torch.Tensor:
        """float32 [outputs], the sum of each row of weights with its scale."""
        return self.row_sums.double().mul(self.scales.double()).float()

    def moved(self, zero: int) -> torch.Tensor:
        """int32 [outputs]: what values that were moved from 0 to 128 and have their zero at `zero` add too much."""
        if zero not in self._moved:
            self._moved[zero] = self.row_sums.mul(zero - 128).to(torch.int32)
        return self._moved[zero]

    @functools.cached_property
    def native(self) -> Packed:
        """The weights as panels for the kernels of ours."""
        return Packed(self.integers, self.scales, self.bias)

    @functools.cached_property
    def native_product(self) -> Packed:
        """The same without a bias."""
        return self.native.without_bias()

    @functools.cached_property
    def onednn(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The weights packed for `qlinear_pointwise`, and the zero points that it wants, all 0."""
        zeros = torch.zeros(self.outputs, dtype=torch.int64)
        return torch.ops.onednn.qlinear_prepack(self.integers, None), zeros

    @functools.cached_property
    def fbgemm(self) -> Any:
        """The weights and the bias packed for `quantized.linear_dynamic`."""
        with warnings.catch_warnings():
            # Quantized tensors are deprecated; this one lives within the call.
            warnings.simplefilter("ignore")
            zeros = torch.zeros(self.outputs, dtype=torch.int64)
            weight = torch._make_per_channel_quantized_tensor(self.integers, self.scales, zeros, 0)
            return torch.ops.quantized.linear_prepack(weight, self.bias)

    @functools.cached_property
    def floats(self) -> torch.Tensor:
        """float32 [outputs, features]."""
        return self.integers.float() * self.scales[:, None]


def joined(weights: Tensors, scales: Tensors, biases: Optionals) -> Layers:
    """Return linears as one, the same object as long as nothing is written into their tensors.

    Args:
        weights: int8 [outputs, features] of each layer.
        scales: float32 [outputs] of each.
        biases: float32 [outputs] or None of each.
    """
    return packed("layers", (*weights, *scales, *biases), lambda: Layers(weights, scales, biases))


def join_biases(weights: Tensors, biases: Optionals) -> torch.Tensor | None:
    """Return the biases one behind the other, zeros where there is none; None where no layer has one."""
    if all(bias is None for bias in biases):
        return None
    parts = [
        torch.zeros(weight.shape[0]) if bias is None else bias.detach().float()
        for weight, bias in zip(weights, biases, strict=True)
    ]
    return torch.cat(parts)
