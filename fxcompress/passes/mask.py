"""Unstructured sparsity: single weights set to zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.fx import GraphModule

from fxcompress.contract import Pass, PassContext, at_least, between, option, statistic
from fxcompress.sparsity import insert_mask, masks_of
from fxcompress.weights import Weight, selected_weights


@dataclass(frozen=True)
class Mask(Pass):
    """Set the smallest weights to zero.

    `sparsity` is the share of each tensor (scope `local`) or of all weights together (scope `global`) that becomes
    zero; it is met to the weight. `threshold` instead sets every weight of a smaller magnitude to zero. The weights
    that were zero before count as the smallest. Shapes stay as they are.

    Weights are the parameters that linears, convolutions, recurrent layers and products of matrices calculate with,
    not their biases. Fixed filters (buffers) and embeddings are left alone unless `targets` name them, tied embeddings
    too: rows that are looked up are not summed, so that each small weight counts by itself.

    Magnitude as the measure of a weight: Han et al., Learning both weights and connections for efficient neural
    networks, 2015.

    `details`: `masked` maps each weight to the number of its elements that are zero afterwards.
    """

    name = "mask"
    fidelity = "lossy"
    sparsity: float = option(0.5, help="share of weights set to zero", check=between(0, 1))
    threshold: float | None = option(None, help="set weights below this magnitude to zero instead", check=at_least(0))
    scope: Literal["local", "global"] = option("local", help="rank within each tensor, or over all of them")
    targets: tuple[str, ...] = option((), help="modules, nodes or parameters to mask; all where none are given")
    ignore: tuple[str, ...] = option((), help="modules, nodes or parameters to leave alone")
    baked: bool = option(False, help="write plain zeros, which training changes, in place of masks")
    zeroed = statistic("weights set to zero")
    zeros = statistic("weights that are zero afterwards")
    weights = statistic("weights looked at")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        weights = selected_weights(module, context, self.targets, self.ignore, embeddings=False)
        masked: dict[str, int] = {}
        with torch.no_grad():
            for weight, dropped in zip(weights, self._dropped(weights), strict=True):
                before = int(weight.tensor.count_nonzero())
                keep = ~dropped & ~self._masked_before(module, weight, context)
                if self.baked:
                    weight.tensor.masked_fill_(~keep, 0)
                else:
                    insert_mask(module, weight.path, keep)
                after, size = int(weight.tensor.count_nonzero()), weight.tensor.numel()
                masked[weight.path] = size - after
                context.record(zeroed=before - after, zeros=size - after, weights=size)
        context.details["masked"] = masked
        return module

    def _masked_before(self, module: GraphModule, weight: Weight, context: PassContext) -> torch.Tensor:
        """Return where an earlier mask is: what it masked stays so."""
        before = context.masks.get(weight.path)
        before = masks_of(module).get(weight.path) if before is None else before
        return torch.zeros_like(weight.tensor, dtype=torch.bool) if before is None else ~before

    def _dropped(self, weights: Sequence[Weight]) -> list[torch.Tensor]:
        """Return for every weight a boolean tensor of its shape: where it becomes zero."""
        magnitudes = [weight.tensor.detach().abs() for weight in weights]
        if self.threshold is not None:
            return [magnitude < self.threshold for magnitude in magnitudes]
        if self.scope == "local":
            return [smallest(magnitude, self.sparsity) for magnitude in magnitudes]
        return smallest_together(magnitudes, self.sparsity)


def smallest(magnitudes: torch.Tensor, share: float) -> torch.Tensor:
    """Return a boolean tensor, true at the `round(share * n)` smallest of n values; of equals the first."""
    flat = magnitudes.flatten()
    # Neither half format can be ordered on every device; both are exact in float32.
    flat = flat if flat.dtype == torch.float64 else flat.float()
    count = round(share * flat.numel())
    if count == 0:
        return torch.zeros_like(magnitudes, dtype=torch.bool)
    last = flat.kthvalue(count).values
    found = flat < last
    equal = (flat == last).nonzero().flatten()
    found[equal[: count - int(found.sum())]] = True
    return found.view_as(magnitudes)


def smallest_together(magnitudes: Sequence[torch.Tensor], share: float) -> list[torch.Tensor]:
    """Return `smallest` over the values of all tensors, cut into their shapes."""
    if not magnitudes:
        return []
    wide = torch.float64 if any(one.dtype == torch.float64 for one in magnitudes) else torch.float32
    together = smallest(torch.cat([one.flatten().to(wide) for one in magnitudes]), share)
    parts = together.split([one.numel() for one in magnitudes])
    return [part.view_as(one) for part, one in zip(parts, magnitudes, strict=True)]
