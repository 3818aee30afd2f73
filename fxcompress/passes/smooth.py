"""Scales move from activations to weights, so that both are easier to round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch.fx import GraphModule

from fxcompress.contract import Pass, PassContext, at_least, between, option, statistic
from fxcompress.quantizing.scaling.choosing import Chosen, chosen_sites
from fxcompress.quantizing.scaling.folding import fold
from fxcompress.quantizing.scaling.sites import Site
from fxcompress.quantizing.scaling.smoothing import aware_scales, largest_inputs, moments, smoothing_scales
from fxcompress.schemes import scheme_named


@dataclass(frozen=True)
class Smooth(Pass):
    """Divide channels of activations by scales, and multiply the weights that they meet: the results stay as they are.

    To be run before `quantize`. Scales fold into what gives the channels, a norm, a linear, a convolution or a product
    with a stored vector, where all that reads them, behind calls that scales pass through (ReLU, pooling, reshapes,
    products), are linears and convolutions with weights of their own. Where something else reads them too, such as the
    sum of a residual block, a product stays in the graph if `insert` says so; otherwise a note names the layers.

    `method=smoothquant`: the scale of a channel is its largest magnitude on the calibration data to the power `alpha`,
    over the largest of its weights to the power `1 - alpha` (Xiao et al., SmoothQuant, 2022). It is for schemes that
    round activations with one range for all channels, `w8a8` and `w8a8-static`.

    `method=awq`: the scale is a power of the root mean square of the channel, of the exponents 0 to 0.95 the one with
    which the weights, rounded to nearest by `scheme`, leave the least error in the outputs of the layers (Lin et al.,
    AWQ, 2023). It is for weights of few bits.

    `details`: `folded` and `inserted` map the node that gives the channels to the weights behind it.
    """

    name = "smooth"
    fidelity = "close"
    method: Literal["smoothquant", "awq"] = option("smoothquant", help="how scales are chosen")
    alpha: float = option(0.5, help="share of the activations in the scales of smoothquant", check=between(0, 1))
    scheme: Literal["w4a16", "w3a16", "w2a16", "w8a16"] = option("w4a16", help="what awq chooses the scales for")
    samples: int = option(4096, help="rows of a layer's inputs that awq looks at", check=at_least(1))
    insert: bool = option(False, help="leave a product in the graph where scales do not fold")
    targets: tuple[str, ...] = option((), help="modules, nodes or parameters to smooth; all where none are given")
    ignore: tuple[str, ...] = option((), help="modules, nodes or parameters to leave alone")
    folded = statistic("values whose scales were folded")
    inserted = statistic("values that a product was inserted behind")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        chosen = chosen_sites(module, context.select(module, self.targets, self.ignore), insert=self.insert)
        if chosen.sites:
            scales = self._scales(module, context, chosen)
            for site in chosen.sites:
                fold(module, site, scales(site))
        tell(context, chosen)
        return module

    def _scales(self, module: GraphModule, context: PassContext, chosen: Chosen) -> Callable[[Site], torch.Tensor]:
        layers = [layer for site in chosen.sites for layer in site.layers]
        batches = list(context.calibration())
        if self.method == "awq":
            grams, scheme = moments(module, layers, batches, self.samples, context), scheme_named(self.scheme)
            return lambda site: aware_scales(module, site, grams, scheme)
        largest = largest_inputs(module, layers, batches, context)
        return lambda site: smoothing_scales(module, site, largest, self.alpha)


def tell(context: PassContext, chosen: Chosen) -> None:
    """Record what was done, and name in notes what was not."""
    for name, folds in (("folded", True), ("inserted", False)):
        sites = [site for site in chosen.sites if site.folds == folds]
        context.details[name] = {site.start.name: [layer.path for layer in site.layers] for site in sites}
        context.record(**{name: len(sites)})
    chosen.name_others(context)
