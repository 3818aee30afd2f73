"""Masks become plain zeros."""

from __future__ import annotations

from dataclasses import dataclass

from torch.fx import GraphModule

from fxcompress.contract import Pass, PassContext, statistic
from fxcompress.sparsity import bake_masks, masks_of


@dataclass(frozen=True)
class Bake(Pass):
    """Make the masks in the graph plain zeros in the weights.

    What `mask` put between a weight and its readers goes, and the buffer of the mask with it. Results stay as they are,
    and the graph is as small and as fast as before it was masked; from then on training changes the zeros too.

    `details`: `baked` maps each weight to the number of its elements that were masked.
    """

    name = "bake"
    fidelity = "exact"
    masks = "seen"
    baked = statistic("masks that became plain zeros")
    zeros = statistic("weights that were masked")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        counts = {path: int((~mask).sum()) for path, mask in masks_of(module).items()}
        bake_masks(module)
        context.record(baked=len(counts), zeros=sum(counts.values()))
        context.details["baked"] = counts
        return module
