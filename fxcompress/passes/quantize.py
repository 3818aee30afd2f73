"""Quantization: weights are stored in few bits, and activations are rounded where the scheme says so."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import torch
from torch.fx import GraphModule

from fxcompress.calibration import OBSERVERS, Observer, Percentile
from fxcompress.contract import Pass, PassContext, above, at_least, between, option, statistic
from fxcompress.graph.nodes import writes
from fxcompress.quantizing.activations import activations_of, insert_activations
from fxcompress.quantizing.assigning import Wanted
from fxcompress.quantizing.bias_correction import BiasCorrection
from fxcompress.quantizing.keeping import Wish, quantize_but_worst
from fxcompress.quantizing.known import Known
from fxcompress.quantizing.layerwise import ByData, round_by_data
from fxcompress.quantizing.nodes import insert_narrow, insert_weight
from fxcompress.quantizing.outliers import round_outliers
from fxcompress.quantizing.products import round_products
from fxcompress.quantizing.rounding import Rounded, floats_of
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

    Scheme `w8a8`: weights as `w8a16`, and what layers multiply them with is rounded to 8 bits too as the model runs:
    for linears and products each token by its own range (its last axis), for convolutions each sample (each index of
    the first axis; all of an image without a batch). `w8a8-static`: the range of a whole tensor is found on the
    calibration data by an `observer`. What several layers read is rounded once; a residual addition reads rounded what
    a convolution of a static input does. No gradient passes the rounding. A note names what one range suits badly:
    where a few tokens are far larger than the others, most values get few of the integers. With `outliers=token` these
    have a range for each token, as in `w8a8`.

    With `sums`, both operands of a sum that a convolution of a static input goes into are rounded too, as ONNX Runtime
    needs it to calculate the convolution in integers.

    With `products`, both operands of products of two activations, as attention has them where it is spelled out in
    matrix products, are rounded by static ranges too, for runtimes that multiply bytes there. These ranges reach as far
    below zero as above it, or begin there.

    With `bias_correction`, what the rounding of weights adds to the mean of each output of a linear or a convolution is
    taken off its bias; the means of inputs are measured on the calibration data (Nagel et al., 2019).

    With `rounding=gptq` a weight of a linear or a convolution is rounded one input after the other, and those still to
    come make up for the error so far, as far as the calibration data tell (Frantar et al., GPTQ, 2022). Ranges are then
    those of the least error that the inputs make of it. Layers come in the order of the graph, each sees what those
    before it, rounded, give. With `rounding=learned` the weights are first fitted, so that the layer gives of these
    inputs what it gave of those of before (Li et al., GPTAQ, 2025), and each integer is tried again at the end, while
    the others stay (Behdin et al., QuantEase, 2023). Embeddings and weights that several layers share are rounded to
    nearest.

    Not every layer bears rounding. With `keep`, that many of the most sensitive weights stay in floats, and what their
    layers read too; with `min_sqnr`, as few as it takes for the results on the calibration data to have that signal to
    noise ratio (see `sensitivity`). With `fallback` they get that scheme instead.

    Weights are the parameters that linears, convolutions, embeddings, recurrent layers and products of matrices
    calculate with, not their biases; buffers only where `targets` name them.

    `details`: `quantized` maps each weight to its `bits`, the `axis` of its channels and the path of its `scale` (of
    its `zero` points and the size of its `group`, where it has some). `activations` maps the node of each one rounded
    to the layers that read it so (`readers`), and to its `scale` and `zero` where these are static; `outliers` maps
    those that one range suits badly to the decibels that it leaves, and that ranges of tokens would. `corrected` lists
    the layers whose biases were. With `keep` and `min_sqnr`, `kept` lists the weights that were spared, the most
    sensitive first, `sensitivity` maps each weight to the SQNR of the results where it alone is quantized, and
    `sqnr_db` is what they have in the end.
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
        "mse", help="what chooses static ranges of activations"
    )
    percent: float = option(99.999, help="share of the values that percentile keeps", check=between(50, 100))
    outliers: Literal["tensor", "token"] = option(
        "tensor", help="ranges of what linears read that one static range suits badly: that one, or one a token"
    )
    rounding: Literal["nearest", "gptq", "learned"] = option("nearest", help="how weights are rounded to integers")
    samples: int = option(16384, help="rows of a layer's inputs that gptq and learned look at", check=at_least(1))
    damping: float = option(0.01, help="ridge of gptq, as a share of the inputs' mean square", check=above(0))
    sums: bool = option(False, help="round what is added to convolutions of static inputs, for runtimes of integers")
    products: bool = option(False, help="round both operands of products of activations, for runtimes of integers")
    bias_correction: bool = option(False, help="take off biases what rounding weights adds to the means of outputs")
    targets: tuple[str, ...] = option((), help="modules, nodes or parameters to quantize; all where none are given")
    ignore: tuple[str, ...] = option((), help="modules, nodes or parameters to leave alone")
    keep: int = option(0, help="how many of the most sensitive weights stay in floats", check=at_least(0))
    min_sqnr: float | None = option(
        None, help="signal to noise of the results, in dB, for which sensitive weights stay in floats"
    )
    fallback: Literal["w8a16", "w8a8", "w8a8-static", "w4a16", "bf16"] | None = option(
        None, help="scheme of the weights that keep and min_sqnr spare, in place of floats"
    )
    tensors = statistic("weight tensors quantized")
    weights = statistic("weights quantized")
    saved = statistic("bytes saved")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        if not self.keep and self.min_sqnr is None:
            return self.quantized(module, context, ())
        known = Known()

        def quantize(copied: GraphModule, beside: PassContext, kept: Collection[str]) -> GraphModule:
            return self.quantized(copied, beside, kept, known)

        return quantize_but_worst(quantize, module, context, Wish(self.keep, self.min_sqnr, self.fallback))

    def quantized(
        self, module: GraphModule, context: PassContext, kept: Collection[str], known: Known | None = None
    ) -> GraphModule:
        """Return `module` with all weights quantized that the options mean; those under the paths `kept` fall back.

        What is in `known` of the same model is not found out again, and what is found out is put there.
        """
        known = Known() if known is None else known
        found = writable(selected_weights(module, context, self.targets, self.ignore), context)
        wanted = Wanted(self.scheme, self.schemes, self.group, self.granularity)
        chosen = wanted.schemes_of(module, context, [weight for weight in found if weight.path not in kept])
        if self.fallback is not None:
            spared = [weight for weight in found if weight.path in kept]
            chosen += Wanted(self.fallback, (), None, None).schemes_of(module, context, spared)
            chosen.sort(key=lambda pair: min(pair[0].users))
        activations = activations_of(chosen, context)
        round_shortcuts(activations)
        if self.sums:
            round_sums(module, activations, context)
        if self.products:
            round_products(module, activations, set(context.select(module, self.targets, self.ignore)), context)
        static = any(one.kind == "tensor" for one in activations)
        # Read once: a generator would have nothing left for a second reading.
        needed = static or self.bias_correction or self.rounding != "nearest"
        batches = list(context.calibration()) if needed else []
        if static:
            known.measure(module, activations, batches, lambda _: observer_named(self.observer, self.percent), context)
            activations = round_outliers(activations, by_token=self.outliers == "token", context=context)
        rounded: dict[str, Rounded] = {}
        if self.rounding != "nearest":
            rounded = round_by_data(module, chosen, batches, ByData(self.rounding, self.samples, self.damping), context)
        correction = None
        if self.bias_correction and self.rounding == "learned":
            context.note("biases stay as they are: rounding=learned fits what layers give, their means too")
        elif self.bias_correction:
            correction = BiasCorrection(module, [one for one, _ in chosen], batches, context)
        context.details["quantized"] = {}
        if any(scheme.format == "fp8" for _, scheme in chosen):
            context.note("fp8: weights alone are rounded; the CPU multiplies no 8-bit floats")
        for weight, scheme in chosen:
            store(module, weight, scheme, context, correction, rounded.get(weight.path), known)
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
    module: GraphModule,
    weight: Weight,
    scheme: Scheme,
    context: PassContext,
    correction: BiasCorrection | None = None,
    rounded: Rounded | None = None,
    known: Known | None = None,
) -> None:
    """Put the integers of `weight` in its place, rounded to nearest where none are given, and tell of them."""
    if scheme.format == "bf16":
        facts, stored = insert_narrow(module, weight, torch.bfloat16), 2 * weight.tensor.numel()
    elif scheme.format == "fp8":
        values, scales = round_to_fp8(weight)
        if correction is not None:
            correction.correct(weight, values.double() * scales.double() - weight.tensor.detach().double())
        facts, stored = insert_fp8(module, weight, values, scales), values.nbytes + scales.nbytes
    else:
        rounded = (known or Known()).rounded(weight, scheme) if rounded is None else rounded
        if correction is not None:
            correction.correct(weight, floats_of(weight, rounded, scheme) - weight.tensor.detach().double())
        facts, stored = insert_weight(module, weight, rounded, scheme), rounded.nbytes
    context.details["quantized"][weight.path] = facts
    context.record(tensors=1, weights=weight.tensor.numel(), saved=weight.tensor.nbytes - stored)


def observer_named(name: str, percent: float) -> Observer:
    """Return a new observer of that name."""
    return Percentile(percent=percent) if name == "percentile" else OBSERVERS[name]()
