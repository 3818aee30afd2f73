"""Quantization: weights are stored in few bits, and activations are rounded where the scheme says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch.fx import GraphModule

from fxcompress.calibration import OBSERVERS, Observer, Percentile
from fxcompress.contract import Pass, PassContext, at_least, between, option, statistic
from fxcompress.graph.nodes import writes
from fxcompress.quantizing.activations import activations_of, insert_activations, measure
from fxcompress.quantizing.assigning import Wanted
from fxcompress.quantizing.bias_correction import BiasCorrection
from fxcompress.quantizing.nodes import insert_narrow, insert_weight
from fxcompress.quantizing.rounding import floats_of, round_weight
from fxcompress.quantizing.small_floats import insert_fp8, round_to_fp8
from fxcompress.quantizing.sums import round_shortcuts, round_sums
from fxcompress.schemes import Scheme
from fxcompress.weights import Weight, selected_weights


@dataclass(frozen=True)
class Quantize(Pass):
    """Store weights as integers with scales, and insert the nodes that dequantize them.

    Scheme `w8a16`: 8-bit integers, symmetric around zero, one scale for each output channel (each row of an embedding);
    activations stay as they are. The integers keep the name of the weight, the scales stand beside it as `NAME_scale`.
    A tied weight is quantized once and stays tied. The largest error of a weight is half of its scale. In training the
    integers are fixed, and what is left in floats (biases, norms) learns around them.

    Schemes `w4a16`, `w3a16`, `w2a16`: 4, 3 or 2 bits, affine, with a scale and a zero point (`NAME_zero`) for each
    `group` of weights that one output is computed with. `pow2`: as `w8a16`, and the scales are powers of two.
    `bf16`: weights are stored as bfloat16, and activations rounded to it. `fp8`: weights are 8-bit floats (e4m3) with a
    scale for each output channel, off by a sixteenth of themselves at most; activations stay as they are, as the CPU
    multiplies no such floats.

    Scheme `w8a8`: weights as `w8a16`, and what linears and products multiply them with is rounded to 8 bits too, each
    token by its own range (its last axis). `w8a8-static`: the range of a whole tensor, convolutions' too, is found on
    the calibration data by an `observer`. What several layers read is rounded once; a residual addition reads rounded
    what a convolution does. No gradient passes the rounding.

    With `sums`, both operands of a sum that a convolution of a static input goes into are rounded too, as ONNX Runtime
    needs it to calculate the convolution in integers.

    With `bias_correction`, what the rounding of weights adds to the mean of each output of a linear or a convolution is
    taken off its bias; the means of inputs are measured on the calibration data (Nagel et al., 2019).

    Weights are the parameters that linears, convolutions, embeddings, recurrent layers and products of matrices
    calculate with, not their biases; buffers only where `targets` name them.

    `details`: `quantized` maps each weight to its `bits`, the `axis` of its channels and the path of its `scale` (of
    its `zero` points and the size of its `group`, where it has some). `activations` maps the node of each one rounded
    to the layers that read it so (`readers`), and to its `scale` and `zero` where these are static. `corrected` lists
    the layers whose biases were.
    """

    name = "quantize"
    fidelity = "lossy"
    scheme: Literal["w8a16", "w4a16", "w3a16", "w2a16", "w8a8", "w8a8-static", "bf16", "fp8", "pow2"] = option(
        "w8a16", help="bits of weights and activations"
    )
    schemes: tuple[str, ...] = option((), help="schemes of their own, as pattern:scheme")
    group: int | None = option(None, help="weights that share a scale, where the scheme has groups", check=at_least(2))
    granularity: Literal["tensor", "channel", "group"] | None = option(
        None, help="what shares a scale, in place of what the scheme says"
    )
    observer: Literal["minmax", "moving-average", "percentile", "mse", "entropy"] = option(
        "percentile", help="what chooses static ranges of activations"
    )
    percent: float = option(99.999, help="share of the values that percentile keeps", check=between(50, 100))
    sums: bool = option(False, help="round what is added to convolutions of static inputs, for runtimes of integers")
    bias_correction: bool = option(False, help="take off biases what rounding weights adds to the means of outputs")
    targets: tuple[str, ...] = option((), help="modules, nodes or parameters to quantize; all where none are given")
    ignore: tuple[str, ...] = option((), help="modules, nodes or parameters to leave alone")
    tensors = statistic("weight tensors quantized")
    weights = statistic("weights quantized")
    saved = statistic("bytes saved")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        found = writable(selected_weights(module, context, self.targets, self.ignore), context)
        wanted = Wanted(self.scheme, self.schemes, self.group, self.granularity)
        chosen = wanted.schemes_of(module, context, found)
        activations = activations_of(chosen, context)
        round_shortcuts(activations)
        if self.sums:
            round_sums(module, activations, context)
        static = any(one.kind == "tensor" for one in activations)
        # Read once: a generator would have nothing left for a second reading.
        batches = list(context.calibration()) if static or self.bias_correction else []
        if static:
            measure(module, activations, batches, lambda _: observer_named(self.observer, self.percent))
        correction = BiasCorrection(module, [one for one, _ in chosen], batches) if self.bias_correction else None
        context.details["quantized"] = {}
        if any(scheme.format == "fp8" for _, scheme in chosen):
            context.note("fp8: weights alone are rounded; the CPU multiplies no 8-bit floats")
        for weight, scheme in chosen:
            store(module, weight, scheme, context, correction)
        if correction is not None:
            context.details["corrected"] = [layer.name for layer in correction.corrected]
        context.details["activations"] = insert_activations(module, activations)
        return module


def writable(weights: list[Weight], context: PassContext) -> list[Weight]:
    """Return the weights that no call of the graph writes into; the others are named in a note."""
    found = []
    for weight in weights:
        if any(writes(user) for user in weight.users):
            context.note(f"{weight.path}: left alone, the graph writes into it")
        else:
            found.append(weight)
    return found


def store(
    module: GraphModule, weight: Weight, scheme: Scheme, context: PassContext, correction: BiasCorrection | None = None
) -> None:
    """Put the integers of `weight` in its place, and tell of them."""
    if scheme.format == "bf16":
        facts, stored = insert_narrow(module, weight, torch.bfloat16), 2 * weight.tensor.numel()
    elif scheme.format == "fp8":
        values, scales = round_to_fp8(weight)
        if correction is not None:
            correction.correct(weight, values.double() * scales.double() - weight.tensor.detach().double())
        facts, stored = insert_fp8(module, weight, values, scales), values.nbytes + scales.nbytes
    else:
        rounded = round_weight(weight, scheme)
        if correction is not None:
            correction.correct(weight, floats_of(weight, rounded, scheme) - weight.tensor.detach().double())
        facts, stored = insert_weight(module, weight, rounded, scheme), rounded.nbytes
    context.details["quantized"][weight.path] = facts
    context.record(tensors=1, weights=weight.tensor.numel(), saved=weight.tensor.nbytes - stored)


def observer_named(name: str, percent: float) -> Observer:
    """Return a new observer of that name."""
    return Percentile(percent=percent) if name == "percentile" else OBSERVERS[name]()
