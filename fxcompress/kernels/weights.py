"""The weights of linears as the backends want them: several side by side, packed, with the sums of their rows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from fxcompress.kernels.packing import packed


class Layers(NamedTuple):
    """Linears that read the same input: int8 weights [outputs, features], float32 scales [outputs], biases or None."""

    weights: Sequence[torch.Tensor]
    scales: Sequence[torch.Tensor]
    biases: Sequence[torch.Tensor | None]

    @property
    def sources(self) -> tuple[torch.Tensor | None, ...]:
        """Every tensor of them: what is made of them holds while none of these is written into."""
        return (*self.weights, *self.scales, *self.biases)

    @property
    def outputs(self) -> int:
        """How many outputs they have together."""
        return sum(weight.shape[0] for weight in self.weights)


class Joined(NamedTuple):
    """All of the layers as one.

    Attributes:
        integers: int8 [outputs, features].
        scales: float32 [outputs].
        bias: float32 [outputs], None where no layer has one.
        sums: float32 [outputs], the sum of each row of weights, as floats.
    """

    integers: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor | None
    sums: torch.Tensor


def joined(layers: Layers) -> Joined:
    """Return `layers` as one, the same object as long as their tensors stay."""
    return packed("joined", layers.sources, lambda: _join(layers))


def _join(layers: Layers) -> Joined:
    weights = [weight.detach() for weight in layers.weights]
    integers = weights[0] if len(weights) == 1 else torch.cat(weights)
    scales = torch.cat([scale.detach().float().reshape(-1) for scale in layers.scales])
    sums = row_sums(integers).double().mul(scales.double()).float()
    return Joined(integers, scales, _bias(layers), sums)


def row_sums(integers: torch.Tensor) -> torch.Tensor:
    """Return the int64 sum of each row of weights."""
    return integers.sum(1, dtype=torch.int64)


def _bias(layers: Layers) -> torch.Tensor | None:
    if all(bias is None for bias in layers.biases):
        return None
    parts = [
        torch.zeros(weight.shape[0]) if bias is None else bias.detach().float()
        for weight, bias in zip(layers.weights, layers.biases, strict=True)
    ]
    return torch.cat(parts)


def for_onednn(layers: Layers) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weights packed for `qlinear_pointwise`, and the zero points that it wants, all 0."""

    def make() -> tuple[torch.Tensor, torch.Tensor]:
        whole = joined(layers)
        zeros = torch.zeros(whole.scales.numel(), dtype=torch.int64)
        return torch.ops.onednn.qlinear_prepack(whole.integers.contiguous(), None), zeros

    return packed("onednn", layers.sources, make)


def for_fbgemm(layers: Layers) -> Any:
    """Return the weights and the bias packed for `quantized.linear_dynamic`."""

    def make() -> Any:
        whole = joined(layers)
        with warnings.catch_warnings():
            # Quantized tensors are deprecated; this one lives within the call.
            warnings.simplefilter("ignore")
            zeros = torch.zeros(whole.scales.numel(), dtype=torch.int64)
            weight = torch._make_per_channel_quantized_tensor(whole.integers, whole.scales, zeros, 0)
            return torch.ops.quantized.linear_prepack(weight, whole.bias)

    return packed("fbgemm", layers.sources, make)


def as_floats(layers: Layers) -> torch.Tensor:
    """Return the weights as float32 [outputs, features], kept for the next call."""

    def make() -> torch.Tensor:
        whole = joined(layers)
        return whole.integers.float() * whole.scales[:, None]

    return packed("float", layers.sources, make)
