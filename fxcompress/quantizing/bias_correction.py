"""Bias correction: what rounding weights adds to the mean of each output is taken off the bias again.

The rounding errors of the weights of one output do not cancel where its inputs have a mean. The expected error is the
product of both; see Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019. The
means are measured here.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.fx import GraphModule, Node

from fxcompress.calibration import Mean, calibrate
from fxcompress.capturing import Inputs
from fxcompress.contract import PassContext
from fxcompress.graph.nodes import argument, is_call
from fxcompress.graph.operators import CONVOLUTIONS, LINEAR
from fxcompress.graph.tensors import Sources, tensor_of
from fxcompress.weights import Weight


class BiasCorrection:
    """Corrects the biases of linears and convolutions whose weights are rounded.

    Attributes:
        means: float64 [channels], by the layer that is given values of this mean.
        corrected: the layers whose bias was changed.
    """

    def __init__(
        self, module: GraphModule, weights: Iterable[Weight], batches: Iterable[Inputs], context: PassContext
    ) -> None:
        self.module, self.sources = module, Sources(module)
        layers = [reader for weight in weights for reader in weight.readers if self._has_own_bias(reader, weight)]
        axes: dict[Node, int] = {}
        for layer in layers:
            axes.setdefault(argument(layer, "input"), _channels(layer))
        observers = calibrate(module, list(axes), batches, lambda node: Mean(axes[node]), context.say)
        # A linear and a convolution may read one value along two axes; the first one's is measured.
        measured = [layer for layer in layers if axes[argument(layer, "input")] == _channels(layer)]
        self.means = {layer: observers[argument(layer, "input")].value() for layer in measured}
        self.corrected: list[Node] = []

    def correct(self, weight: Weight, error: torch.Tensor) -> None:
        """Take off the biases of the layers of `weight` what its rounding adds: `error`, of the shape of the weight."""
        for layer in weight.readers:
            if layer not in self.means:
                continue
            rows = error.double().flatten(2).sum(2) if error.dim() > 2 else error.double()
            groups = argument(layer, "groups") if is_call(layer, *CONVOLUTIONS) else 1
            means = self.means[layer].view(groups, -1, 1)
            bias = tensor_of(self.module, argument(layer, "bias"))
            assert bias is not None
            with torch.no_grad():
                bias.sub_((rows.view(groups, -1, rows.shape[1]) @ means).flatten().to(bias.dtype))
            self.corrected.append(layer)

    def _has_own_bias(self, layer: Node, weight: Weight) -> bool:
        """Whether `layer` multiplies with `weight` as it is stored, and adds a stored bias that is its own."""
        if not is_call(layer, *LINEAR, *CONVOLUTIONS) or argument(layer, "weight") not in weight.sources:
            return False
        given, bias = argument(layer, "input"), argument(layer, "bias")
        if given.op == "get_attr" or tensor_of(self.module, bias) is None:
            return False
        return self.sources.readers(bias) == {layer}


def _channels(layer: Node) -> int:
    """Return the axis of the input of `layer` that its weights multiply."""
    if is_call(layer, *LINEAR):
        return -1
    return 1 - int(argument(layer, "weight").meta["val"].dim())
