"""From a graph that was trained with rounding to one that stores integers."""

from __future__ import annotations

from dataclasses import dataclass

from torch.fx import GraphModule

from fxcompress.contract import Pass, PassContext, statistic
from fxcompress.quantizing.pretending import convert_activation, convert_weight, pretended


@dataclass(frozen=True)
class Convert(Pass):
    """Store what `fake-quantize` rounds as integers, weights and activations.

    The graph is then as `quantize` would leave it, with the weights and the steps that were learned, and `lower` takes
    it. It gives what the trained graph gives, up to float error.

    `details`: `quantized` and `activations`, as of `quantize`.
    """

    name = "convert"
    fidelity = "close"
    tensors = statistic("weight tensors quantized")
    weights = statistic("weights quantized")
    saved = statistic("bytes saved")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        weights, activations = pretended(module)
        context.details["quantized"] = {}
        for node in weights:
            path, facts, saved = convert_weight(module, node)
            context.details["quantized"][path] = facts
            context.record(tensors=1, weights=module.get_buffer(path).numel(), saved=saved)
        values = [(node.args[0].name, convert_activation(module, node)) for node in activations]  # type: ignore[union-attr]
        context.details["activations"] = dict(values)
        if not weights and not activations:
            context.note("nothing is rounded in training: fake-quantize comes first")
        return module
