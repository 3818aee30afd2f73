"""Quantization of weights: integers and scales are stored, dequantize nodes give them back as floats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch.fx import GraphModule, Node

from fxcompress.contract import Pass, PassContext, option, statistic
from fxcompress.errors import PassFailed
from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.graph.tensors import add_tensor, set_tensor
from fxcompress.passes.weights import Weight, selected_weights

QUANT_MIN, QUANT_MAX = -127, 127


@dataclass(frozen=True)
class Quantize(Pass):
    """Store weights as integers with scales, and insert the nodes that dequantize them.

    Scheme `w8a16`: 8-bit integers, symmetric around zero, one scale for each output channel (each row of an embedding);
    activations stay as they are. The integers keep the name of the weight, the scales stand beside it as `NAME_scale`.
    A tied weight is quantized once and stays tied. The largest error of a weight is half of its scale. In training the
    integers are fixed, and what is left in floats (biases, norms) learns around them.

    Weights are the parameters that linears, convolutions, embeddings, recurrent layers and products of matrices
    calculate with, not their biases; buffers only where `targets` name them.

    `details`: `quantized` maps each weight to its `bits`, the `axis` of its channels and the path of its `scale`.
    """

    name = "quantize"
    fidelity = "lossy"
    scheme: Literal["w8a16"] = option("w8a16", help="bits of weights and activations")
    targets: tuple[str, ...] = option((), help="modules, nodes or parameters to quantize; all where none are given")
    ignore: tuple[str, ...] = option((), help="modules, nodes or parameters to leave alone")
    tensors = statistic("weight tensors quantized")
    weights = statistic("weights quantized")
    saved = statistic("bytes saved")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        quantized: dict[str, dict[str, object]] = {}
        for weight in selected_weights(module, context, self.targets, self.ignore):
            if any(writes(user) for user in weight.users):
                context.note(f"{weight.path}: left alone, the graph writes into it")
                continue
            scale = channel_scale(weight)
            place = insert_dequantize(module, weight, scale)
            set_tensor(module, weight.path, integers_of(weight, scale))
            quantized[weight.path] = {"bits": 8, "axis": weight.output_axis, "scale": place}
            saved = weight.tensor.nbytes - weight.tensor.numel() - scale.nbytes
            context.record(tensors=1, weights=weight.tensor.numel(), saved=saved)
        context.details["quantized"] = quantized
        return module


def writes(node: Node) -> bool:
    """Whether `node` writes into one of its arguments."""
    return isinstance(node.target, torch._ops.OpOverload) and bool(node.target._schema.is_mutable)


def channel_scale(weight: Weight) -> torch.Tensor:
    """Return the float32 vector of scales that maps the largest magnitude of each output channel to 127.

    A channel of zeros has scale 1.

    Raises:
        PassFailed: a weight is not finite in float32.
    """
    others = [dim for dim in range(weight.tensor.dim()) if dim != weight.output_axis]
    largest = weight.tensor.detach().float().abs().amax(dim=others)
    if not largest.isfinite().all():
        raise PassFailed(f"{weight.path} holds numbers that are not finite", weight.readers[0])
    scale = largest / QUANT_MAX
    return torch.where(scale > 0, scale, torch.ones_like(scale))


def integers_of(weight: Weight, scale: torch.Tensor) -> torch.Tensor:
    """Return the weight in steps of its scales, rounded half to even, as int8."""
    shape = [-1 if dim == weight.output_axis else 1 for dim in range(weight.tensor.dim())]
    steps = weight.tensor.detach().double() / scale.double().view(shape)
    return steps.round().clamp(QUANT_MIN, QUANT_MAX).to(torch.int8)


def insert_dequantize(module: GraphModule, weight: Weight, scale: torch.Tensor) -> str:
    """Let all that read `weight` read one dequantize node, put just before the first; return the path of the scale."""
    first, source = min(weight.users), weight.sources[0]
    scales = add_tensor(module, f"{weight.path}_scale", scale, first)
    with module.graph.inserting_before(first):
        dequantized = module.graph.create_node(
            "call_function",
            quantized_decomposed().dequantize_per_channel.default,
            (source, scales, None, weight.output_axis, QUANT_MIN, QUANT_MAX, torch.int8),
            {"out_dtype": weight.tensor.dtype},
            name=f"{source.name}_dequantized",
        )
    dequantized.meta["val"] = source.meta["val"]
    if "nn_module_stack" in first.meta:
        dequantized.meta["nn_module_stack"] = first.meta["nn_module_stack"]
    for one in weight.sources:
        for user in [user for user in one.users if user is not dequantized]:
            user.replace_input_with(one, dequantized)
        if one is not source:
            module.graph.erase_node(one)
    return str(scales.target)
