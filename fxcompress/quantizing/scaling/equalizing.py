"""Cross-layer equalization: the channels between two layers get scales with which both weights have equal ranges.

Nagel, van Baalen, Blankevoort, Welling: Data-Free Quantization Through Weight Equalization and Bias Correction, 2019.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.fx import GraphModule

from fxcompress.graph.tensors import attribute
from fxcompress.quantizing.scaling.folding import fold, largest_weights
from fxcompress.quantizing.scaling.sites import Site
from fxcompress.quantizing.scaling.smoothing import positive

# Layers in a row pull at one another; ranges are taken as equal when no scale of a round is further from one.
ROUNDS, NEAR = 40, 1e-3


def equalize(module: GraphModule, sites: Sequence[Site]) -> int:
    """Scale the channels of `sites` until the ranges of weights are equal on both sides; return the rounds it took."""
    for done in range(ROUNDS):
        furthest = 0.0
        for site in sites:
            scales = equal_scales(module, site)
            fold(module, site, scales)
            furthest = max(furthest, float(scales.log().abs().amax()))
        if furthest < NEAR:
            return done + 1
    return ROUNDS


def equal_scales(module: GraphModule, site: Site) -> torch.Tensor:
    """Return float64 [channels]: the square root of the range of the weights before over that of those behind.

    Channels without any weights on one side keep 1.
    """
    before = largest_rows(module, site)
    behind = torch.stack([largest_weights(module, layer) for layer in site.layers]).amax(0)
    return positive((before / behind).sqrt())


def largest_rows(module: GraphModule, site: Site) -> torch.Tensor:
    """Return float64 [channels]: the largest magnitude of the weights that give a channel, biases left out."""
    path, axis = site.divided[0]
    tensor: torch.Tensor = attribute(module, path)
    return tensor.detach().double().movedim(axis, 0).flatten(1).abs().amax(1)
