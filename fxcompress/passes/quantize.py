"""Quantization of weights: integers and scales are stored, dequantize nodes give them back as floats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch.fx import GraphModule

from fxcompress.contract import Pass, PassContext, option, statistic
from fxcompress.graph.nodes import add_tensor, set_tensor
from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.passes.weights import Weight, selected_weights

QUANT_MIN, QUANT_MAX = -127, 127


@dataclass(frozen=True)
class Quantize(Pass):
    """Store weights as integers with scales, and insert the nodes that dequantize them.

    Scheme `w8a16`: 8-bit integers, symmetric around zero, one scale for each output channel (each row of an embedding);
    activations stay as they are. The integers keep the name of the weight, the scales stand beside it as `NAME_scale`.
    A tied weight is quantized once and stays tied.
    """

    name = "quantize"
    fidelity = "lossy"
    scheme: Literal["w8a16"] = option("w8a16", help="bits of weights and activations")
    targets: tuple[str, ...] = option((), help="modules, nodes or parameters to quantize; all where none are given")
    ignore: tuple[str, ...] = option((), help="modules, nodes or parameters to leave alone")
    tensors = statistic("weight tensors quantized")
    weights = statistic("weights quantized")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        for weight in selected_weights(module, context, self.targets, self.ignore):
            context.record(tensors=1, weights=weight.tensor.numel())
            insert_dequantize(module, weight)
        return module


def insert_dequantize(module: GraphModule, weight: Weight) -> None:
    """Store `weight` as int8 with a scale for each channel, and let every node that read it read a dequantize node."""
    axis = weight.output_axis
    scale = channel_scale(weight.tensor, axis)
    shape = [-1 if dim == axis else 1 for dim in range(weight.tensor.dim())]
    rounded = torch.round(weight.tensor.detach().float() / scale.view(shape))
    integers = rounded.clamp(QUANT_MIN, QUANT_MAX).to(torch.int8)
    first = next(iter(weight.sources[0].users))
    scales = add_tensor(module, f"{weight.path}_scale", scale, first)
    for source in weight.sources:
        with module.graph.inserting_after(scales if source is weight.sources[0] else source):
            dequantized = module.graph.create_node(
                "call_function",
                quantized_decomposed().dequantize_per_channel.default,
                (source, scales, None, axis, QUANT_MIN, QUANT_MAX, torch.int8),
                {"out_dtype": weight.tensor.dtype},
                name=f"{source.name}_dequantized",
            )
        dequantized.meta["nn_module_stack"] = first.meta.get("nn_module_stack", {})
        source.replace_all_uses_with(dequantized, delete_user_cb=lambda user, own=dequantized: user is not own)
    set_tensor(module, weight.path, integers)


def channel_scale(tensor: torch.Tensor, axis: int) -> torch.Tensor:
    """Return the float32 vector of scales that maps the largest magnitude of each slice along `axis` to 127."""
    others = [dim for dim in range(tensor.dim()) if dim != axis]
    largest = tensor.detach().float().abs().amax(dim=others)
    return torch.where(largest > 0, largest / QUANT_MAX, torch.ones_like(largest))
