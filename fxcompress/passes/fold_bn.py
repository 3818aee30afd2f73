"""Folding batch norm into the linear or convolution beside it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

from fxcompress.contract import Pass, PassContext, statistic
from fxcompress.graph.nodes import argument, calls
from fxcompress.graph.tensors import Sources, drop_unused
from fxcompress.passes.batch_norm import Fold, affine_of, fold_after, fold_before, perform
from fxcompress.text import listing

aten = torch.ops.aten


@dataclass(frozen=True)
class FoldBatchNorm(Pass):
    """Fold batch norm into the linear or convolution before it, or after it where that is exact.

    A batch norm in evaluation mode is a scale and a shift of each channel, which weight and bias take over; they are
    computed in float64 and rounded once. Views and permutations may stand between the two. After a batch norm only a
    convolution without padding is exact: a padded zero was not shifted. Where the weight is shared, or the value
    between the two is used elsewhere too, both stay, and a note says why.

    `details`: `folded` maps the node of each batch norm that is gone to the weight that took it over, `kept` maps those
    that stay to the reason.
    """

    name = "fold-bn"
    fidelity = "exact"
    folded = statistic("batch norms folded")
    kept = statistic("batch norms that stay")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        own: set[str] = set()
        sources = Sources(module)
        folded: dict[str, str] = {}
        progress = True
        while progress:
            # One that is folded may bring another one beside a layer.
            progress, kept = False, {}
            for norm in calls(module.graph, aten.batch_norm):
                paths, name = own_paths(norm), norm.name
                outcome = fold(module, sources, norm)
                if isinstance(outcome, str):
                    kept[name] = outcome
                else:
                    folded[name], progress = outcome.path, True
                    own |= paths
        context.record(folded=len(folded), kept=len(kept))
        context.details.update(folded=folded, kept=kept)
        for why in dict.fromkeys(kept.values()):
            names = [f"%{name}" for name, reason in kept.items() if reason == why]
            context.note(f"{listing(names)}: not folded, {why}")
        drop_norms(module, own)
        return module


def fold(module: GraphModule, sources: Sources, norm: Node) -> Fold | str:
    """Fold `norm` into a neighbour and return what that became, or return why it stays."""
    affine = affine_of(module, norm)
    if isinstance(affine, str):
        return affine
    before = fold_before(module, sources, norm, affine)
    after = fold_after(module, sources, norm, affine) if isinstance(before, str) else before
    if isinstance(after, str):
        return f"{before}; {after}"
    perform(module, norm, after)
    return after


def own_paths(norm: Node) -> set[str]:
    """Return the paths of the tensors that `norm` reads."""
    given = (argument(norm, name) for name in ("weight", "bias", "running_mean", "running_var"))
    return {str(source.target) for source in given if isinstance(source, Node)}


def drop_norms(module: GraphModule, paths: set[str]) -> None:
    """Remove the tensors of folded batch norms that nothing reads any more, and the counters beside them."""
    gone = drop_unused(module, paths)
    owners = [path.rpartition(".")[0] for path in gone if path.endswith("running_mean")]
    drop_unused(module, [f"{owner}.num_batches_tracked".lstrip(".") for owner in owners])
