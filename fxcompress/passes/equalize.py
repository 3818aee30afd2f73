"""Weights of layers behind one another get equal ranges."""

from __future__ import annotations

from dataclasses import dataclass

from torch.fx import GraphModule

from fxcompress.contract import Pass, PassContext, option, statistic
from fxcompress.quantizing.scaling.choosing import chosen_sites
from fxcompress.quantizing.scaling.equalizing import equalize


@dataclass(frozen=True)
class Equalize(Pass):
    """Scale the channels between two layers so that the weights on both sides have equal ranges; no data are needed.

    For each channel that a linear or a convolution gives, and that only such layers read behind calls that scales pass
    through (ReLU, pooling, reshapes), the weights and the bias before are divided by a scale and the weights behind are
    multiplied with it, until the largest magnitudes are equal (Nagel et al., Data-Free Quantization Through Weight
    Equalization and Bias Correction, 2019). The results stay as they are. It is for one scale a tensor, and for
    activations: a channel of weights has a scale of its own in most schemes. Batch norms are in the way: `fold-bn`
    comes first, `quantize` after.

    `details`: `equalized` maps the node of each layer before to the weights behind, `rounds` tells how often all were
    scaled.
    """

    name = "equalize"
    fidelity = "close"
    targets: tuple[str, ...] = option((), help="modules, nodes or parameters behind the channels; all where none")
    ignore: tuple[str, ...] = option((), help="modules, nodes or parameters to leave alone")
    equalized = statistic("layers whose channels were scaled")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        nodes = set(context.select(module, self.targets, self.ignore))
        chosen = chosen_sites(module, nodes, insert=False, between_layers=True)
        context.details["rounds"] = equalize(module, chosen.sites) if chosen.sites else 0
        context.details["equalized"] = {site.start.name: [layer.path for layer in site.layers] for site in chosen.sites}
        context.record(equalized=len(chosen.sites))
        chosen.name_others(context)
        return module
