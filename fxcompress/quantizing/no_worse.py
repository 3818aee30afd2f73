"""Outputs of a layer that are nearer with weights rounded to nearest get these."""

from __future__ import annotations

import torch

from fxcompress.calibration.gram import Gram
from fxcompress.quantizing.rounding import Rounded, floats_of, round_weight
from fxcompress.schemes import Scheme
from fxcompress.weights import Weight
from fxcompress.weights.layer_rows import Layer


def no_worse(weight: Weight, layer: Layer, scheme: Scheme, gram: Gram, found: Rounded) -> Rounded:
    """Return `found`, but what `round_weight` gives where that has less error on the data that `gram` has seen.

    Outputs that have scales of their own are chosen one by one.
    """
    plain = round_weight(weight, scheme)
    taken = _costs(weight, layer, scheme, gram, plain) < _costs(weight, layer, scheme, gram, found)
    if scheme.granularity == "tensor":
        return plain if bool(taken) else found

    def mixed(one: torch.Tensor, other: torch.Tensor, axis: int) -> torch.Tensor:
        return torch.where(taken.view([-1 if dim == axis else 1 for dim in range(one.dim())]), one, other)

    zeros = None if plain.zeros is None or found.zeros is None else mixed(plain.zeros, found.zeros, 0)
    integers = mixed(plain.integers, found.integers, weight.output_axis)
    return Rounded(integers, mixed(plain.scales, found.scales, 0), zeros)


def _costs(weight: Weight, layer: Layer, scheme: Scheme, gram: Gram, rounded: Rounded) -> torch.Tensor:
    """Return float64 [outputs], or [] where all share a scale: the squared error, less what no rounding changes.

    With X what the layer is given and Y what it was given before, |X Q - Y W|^2 less |Y W|^2.
    """
    assert gram.products is not None
    crossed = gram.products if gram.crossed is None else gram.crossed
    toward = layer.matrix(weight.tensor).mT @ crossed.mT
    floats = layer.matrix(floats_of(weight, rounded, scheme)).mT
    costs = ((floats @ gram.products - 2 * toward) * floats).sum(2).flatten()
    return costs.sum() if scheme.granularity == "tensor" else costs
