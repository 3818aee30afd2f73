"""Limiting weights to a range."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.fx import GraphModule

from fxcompress.contract import Pass, PassContext, above, option, statistic
from fxcompress.errors import PassFailed
from fxcompress.text import listing
from fxcompress.weights import selected_weights


@dataclass(frozen=True)
class Clip(Pass):
    """Limit weights to a range around zero.

    The range is absolute, `clip{limit=2.5}`, or counted in standard deviations of each weight tensor,
    `clip{deviations=4}`; where both are given, the narrower holds. Outliers cut off make the steps of a later
    quantization smaller.

    Weights are the parameters that linears, convolutions, embeddings, recurrent layers and products of matrices
    calculate with, not their biases; buffers only where `targets` name them.

    `details`: `clipped` maps each weight to the number of its elements that were outside.
    """

    name = "clip"
    fidelity = "lossy"
    limit: float | None = option(None, help="largest magnitude that a weight may have", check=above(0))
    deviations: float | None = option(None, help="the same in standard deviations of the tensor", check=above(0))
    targets: tuple[str, ...] = option((), help="modules, nodes or parameters to clip; all where none are given")
    ignore: tuple[str, ...] = option((), help="modules, nodes or parameters to leave alone")
    clipped = statistic("weights that were outside the range")
    weights = statistic("weights looked at")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        if self.limit is None and self.deviations is None:
            raise PassFailed("no range is given", hint="clip{limit=...} or clip{deviations=...}")
        counts: dict[str, int] = {}
        uniform = []
        with torch.no_grad():
            for weight in selected_weights(module, context, self.targets, self.ignore):
                bound = self._bound(weight.tensor)
                if bound == 0:
                    uniform.append(weight.path)
                    continue
                counts[weight.path] = int((weight.tensor.abs() > bound).sum())
                context.record(clipped=counts[weight.path], weights=weight.tensor.numel())
                weight.tensor.clamp_(-bound, bound)
        if uniform:
            context.note(f"{listing(uniform)}: left alone, all of its elements are the same")
        context.details["clipped"] = counts
        return module

    def _bound(self, tensor: torch.Tensor) -> float:
        bounds = [] if self.limit is None else [self.limit]
        if self.deviations is not None:
            bounds.append(self.deviations * float(tensor.double().std(correction=0)))
        return min(bounds)
