"""Unstructured sparsity: single weights set to zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.fx import GraphModule

from fxcompress.contract import Pass, PassContext, at_least, between, option, statistic
from fxcompress.passes.weights import Weight, selected_weights


@dataclass(frozen=True)
class Mask(Pass):
    """Set the smallest weights to zero.

    `sparsity` is the share of each tensor (scope `local`) or of all weights together (scope `global`) that becomes zero;
    it is met to the weight. `threshold` instead sets every weight of a smaller magnitude to zero. The weights that were
    zero before count as the smallest. Shapes stay as they are.

    Magnitude as the measure of a weight: Han et al., Learning both weights and connections for efficient neural
    networks, 2015.
    """

    name = "mask"
    fidelity = "lossy"
    sparsity: float = option(0.5, help="share of weights set to zero", check=between(0, 1))
    threshold: float | None = option(None, help="set weights below this magnitude to zero instead", check=at_least(0))
    scope: Literal["local", "global"] = option("local", help="rank within each tensor, or over all of them")
    targets: tuple[str, ...] = option((), help="modules, nodes or parameters to mask; all where none are given")
    ignore: tuple[str, ...] = option((), help="modules, nodes or parameters to leave alone")
    zeroed = statistic("weights set to zero")
    weights = statistic("weights looked at")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        weights = selected_weights(module, context, self.targets, self.ignore)
        with torch.no_grad():
            for weight, dropped in zip(weights, self._dropped(weights), strict=True):
                context.record(zeroed=int((dropped & (weight.tensor != 0)).sum()), weights=weight.tensor.numel())
                weight.tensor.masked_fill_(dropped, 0)
        return module

    def _dropped(self, weights: Sequence[Weight]) -> list[torch.Tensor]:
        """Return for every weight a boolean tensor of its shape: where it becomes zero."""
        magnitudes = [weight.tensor.detach().abs() for weight in weights]
        if self.threshold is not None:
            return [magnitude < self.threshold for magnitude in magnitudes]
        if self.scope == "local" or not magnitudes:
            return [smallest(magnitude.flatten(), self.sparsity).view_as(magnitude) for magnitude in magnitudes]
        together = smallest(torch.cat([magnitude.flatten().float() for magnitude in magnitudes]), self.sparsity)
        parts = together.split([magnitude.numel() for magnitude in magnitudes])
        return [part.view_as(magnitude) for part, magnitude in zip(parts, magnitudes, strict=True)]


def smallest(magnitudes: torch.Tensor, share: float) -> torch.Tensor:
    """Return a boolean vector, true at the `round(share * n)` smallest of n values; of equals the first."""
    count = round(share * magnitudes.numel())
    found = torch.zeros_like(magnitudes, dtype=torch.bool)
    found[magnitudes.argsort(stable=True)[:count]] = True
    return found
