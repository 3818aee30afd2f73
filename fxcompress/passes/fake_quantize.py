"""Quantization-aware training: the graph rounds as it will when it is quantized, and learns with that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch.fx import GraphModule

from fxcompress.contract import Pass, PassContext, at_least, between, option, statistic
from fxcompress.errors import PassFailed
from fxcompress.passes.quantize import observer_named, writable
from fxcompress.quantizing.activations import activations_of, measure
from fxcompress.quantizing.assigning import Wanted
from fxcompress.quantizing.pretending import pretend_activation, pretend_weight
from fxcompress.weights import selected_weights


@dataclass(frozen=True)
class FakeQuantize(Pass):
    """Let layers read weights and inputs as `quantize` would round them, in floats that train.

    Train the module that comes out like any other, then run `convert`: what that gives is the module as it was trained,
    in integers. Weights stay parameters under their names; gradients reach them straight through the rounding, and
    stop where it clips (Bengio et al., 2013). The length of each step is learned too (Esser et al., Learned Step Size
    Quantization, 2020): it is `NAME_scale`, which is what `quantize` would choose, times two to the power of
    `NAME_stretch`, a parameter that begins with zeros. So any optimizer serves, with one rate for all, and weight decay
    pulls towards the calibrated scale. Zero points stay as they are.

    Before it is trained, the module gives what the quantized one would. Run `fold-bn` before it where the model has
    batch norms to fold, and `mask` and `prune` too: zeros stay zeros in all schemes.

    `details`: `weights` maps each weight to its `bits` and the paths of its `scale` and `stretch`; `activations` maps
    the node of each one rounded to its `readers`, and where it is static to `scale`, `stretch` and `zero`.
    """

    name = "fake-quantize"
    fidelity = "lossy"
    scheme: Literal["w8a16", "w4a16", "w3a16", "w2a16", "w8a8", "w8a8-static"] = option(
        "w8a16", help="bits of weights and activations, as for quantize"
    )
    schemes: tuple[str, ...] = option((), help="schemes of their own, as pattern:scheme")
    group: int | None = option(None, help="weights that share a scale, where the scheme has groups", check=at_least(2))
    granularity: Literal["tensor", "channel", "group"] | None = option(
        None, help="what shares a scale, in place of what the scheme says"
    )
    observer: Literal["minmax", "moving-average", "percentile", "mse", "entropy"] = option(
        "mse", help="what chooses the ranges of activations that training begins with"
    )
    percent: float = option(99.999, help="share of the values that percentile keeps", check=between(50, 100))
    targets: tuple[str, ...] = option((), help="modules, nodes or parameters to round; all where none are given")
    ignore: tuple[str, ...] = option((), help="modules, nodes or parameters to leave alone")
    tensors = statistic("weight tensors rounded")
    activations = statistic("activations rounded")
    learned = statistic("steps to be learned")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        found = writable(selected_weights(module, context, self.targets, self.ignore), context)
        chosen = Wanted(self.scheme, self.schemes, self.group, self.granularity).schemes_of(module, context, found)
        for weight, scheme in chosen:
            if scheme.format != "int":
                raise PassFailed(f"{weight.path}: scheme {scheme.name} has no steps to learn", hint="use quantize")
        activations = activations_of(chosen, context)
        if any(one.kind == "tensor" for one in activations):
            batches = list(context.calibration())
            measure(module, activations, batches, lambda _: observer_named(self.observer, self.percent), context)
        context.details["weights"] = {weight.path: pretend_weight(module, weight, scheme) for weight, scheme in chosen}
        context.details["activations"] = {one.value.name: pretend_activation(module, one) for one in activations}
        rows = [*context.details["weights"].values(), *context.details["activations"].values()]
        steps = sum(module.get_parameter(facts["stretch"]).numel() for facts in rows if "stretch" in facts)
        context.record(tensors=len(chosen), activations=len(activations), learned=steps)
        return module
