"""Which scales make activations easy to round (SmoothQuant), and which make weights so (AWQ)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Self

import torch
from torch.fx import GraphModule, Node

from fxcompress.calibration import MinMax, calibrate
from fxcompress.calibration.gram import Gram
from fxcompress.calibration.lockstep import Lockstep
from fxcompress.calibration.run import values_of
from fxcompress.capturing import Inputs
from fxcompress.contract import PassContext
from fxcompress.graph.tensors import attribute
from fxcompress.quantizing.evidence import Evidence
from fxcompress.quantizing.rounding import fitted, floats_of, round_weight
from fxcompress.quantizing.scaling.folding import largest_weights, spread
from fxcompress.quantizing.scaling.sites import Site
from fxcompress.schemes import Scheme
from fxcompress.weights import Weight
from fxcompress.weights.layer_rows import Layer

# Exponents that AWQ tries; at zero all scales are one.
EXPONENTS = tuple(step / 20 for step in range(20))
# Channels that are next to nothing would get scales with which a product overflows or vanishes.
LIMIT = 1e5


class Largest:
    """The largest magnitude of each channel, along several axes of one value."""

    def __init__(self, axes: Iterable[int]) -> None:
        self.seen = {axis: MinMax(axis) for axis in axes}

    def update(self, tensor: torch.Tensor) -> None:
        for one in self.seen.values():
            one.update(tensor)

    def merge(self, other: Self) -> None:
        for axis, one in self.seen.items():
            one.merge(other.seen[axis])

    def along(self, axis: int) -> torch.Tensor:
        one = self.seen[axis]
        return torch.maximum(one.most.abs(), one.least.abs())


def largest_inputs(
    module: GraphModule, layers: Sequence[Layer], batches: Iterable[Inputs], context: PassContext
) -> dict[Node, torch.Tensor]:
    """Return by layer float64 [channels]: the largest magnitude of each channel of its input on `batches`."""
    axes: dict[Node, set[int]] = {}
    for layer in layers:
        axes.setdefault(layer.source, set()).add(layer.channel_axis)
    seen = calibrate(module, list(axes), batches, lambda node: Largest(axes[node]), context.say)
    return {layer.node: seen[layer.source].along(layer.channel_axis) for layer in layers}


def smoothing_scales(
    module: GraphModule, site: Site, largest: Mapping[Node, torch.Tensor], alpha: float
) -> torch.Tensor:
    """Return float64 [channels]: |X|^alpha / |W|^(1 - alpha) by the largest magnitudes; 1 for channels without any.

    Xiao et al., SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models, 2022.
    """
    values = torch.stack([largest[layer.node] for layer in site.layers]).amax(0)
    weights = torch.stack([largest_weights(module, layer) for layer in site.layers]).amax(0)
    return positive(values.pow(alpha) / weights.pow(1 - alpha))


def positive(scales: torch.Tensor) -> torch.Tensor:
    """Return `scales`, with 1 for what is no positive number, and within limits that floats stay exact in."""
    return torch.where(scales.isfinite() & (scales > 0), scales, torch.ones_like(scales)).clamp(1 / LIMIT, LIMIT)


def moments(
    module: GraphModule, layers: Sequence[Layer], batches: Sequence[Inputs], samples: int, context: PassContext
) -> dict[Node, Gram]:
    """Return the moments of what each layer is given on `batches`, over at most so many rows."""
    run = Lockstep(module, values_of(module, batches))
    rows, waiting, found = Evidence(layers, run, None, samples, context), {layer.node for layer in layers}, {}
    with torch.no_grad():
        for node in [node for node in module.graph.nodes if node.op != "output"]:
            if node in waiting:
                found[node] = rows.of(node)
            run.step(node)
    return found


def aware_scales(module: GraphModule, site: Site, grams: Mapping[Node, Gram], scheme: Scheme) -> torch.Tensor:
    """Return float64 [channels]: the power of the inputs' root mean squares that leaves the least error in the outputs.

    All layers of the site are rounded to nearest by `scheme`. Lin et al., AWQ: Activation-aware Weight Quantization for
    LLM Compression and Acceleration, 2023; there the mean magnitude stands for the root mean square.
    """
    powers = torch.stack([_powers(module, layer, grams[layer.node]) for layer in site.layers]).mean(0)
    best, least = torch.ones_like(powers), float("inf")
    for exponent in EXPONENTS:
        scales = positive(powers.pow(exponent / 2))
        scales = positive(scales / (scales.amax() * scales.amin()).sqrt())
        cost = sum(_cost(module, layer, grams[layer.node], scheme, scales) for layer in site.layers)
        if cost < least:
            best, least = scales, cost
    return best


def _powers(module: GraphModule, layer: Layer, gram: Gram) -> torch.Tensor:
    """Return float64 [channels]: the mean square of each channel of the input."""
    assert gram.products is not None
    weight = attribute(module, layer.path)
    kernel = weight.shape[2:].numel() if layer.input_dim else 1
    return gram.products.diagonal(dim1=1, dim2=2).reshape(-1, kernel).mean(1) / max(1, gram.count)


def _cost(module: GraphModule, layer: Layer, gram: Gram, scheme: Scheme, scales: torch.Tensor) -> float:
    """Return the squared error of the outputs of `layer` where its weight is rounded in these scales."""
    assert gram.products is not None
    stored = attribute(module, layer.path).detach()
    matrix, factors = layer.matrix(stored), spread(layer, stored, scales)
    scaled = layer.stored(matrix * factors, stored)
    weight = Weight(layer.path, scaled, (layer.node,), (), layer.output_dim)
    chosen = fitted(weight, scheme)[0] or replace(scheme, granularity="channel", group=0)
    error = layer.matrix(floats_of(weight, round_weight(weight, chosen), chosen)) / factors - matrix
    return float((error * (gram.products @ error)).sum())
