"""Folding batch norm into the linear or convolution beside it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

from fxcompress.contract import Pass, PassContext, statistic
from fxcompress.graph.nodes import argument, calls, drop_unused, read_tensors, tensor_of
from fxcompress.passes.batch_norm import (
    Fold,
    affine_of,
    fold_into_consumer,
    fold_into_producer,
    fold_with_consumer,
    fold_with_producer,
)
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
        folded: dict[str, str] = {}
        # One that is folded may bring the next one beside a convolution.
        while True:
            obstacles = {}
            for norm in calls(module.graph, aten.batch_norm):
                paths, name = own_paths(norm), norm.name
                found = fold(module, norm)
                if isinstance(found, str):
                    obstacles[name] = found
                else:
                    folded[name] = str(found.weight.target)
                    own |= paths
            if len(folded) == context.statistics.get("folded", 0):
                break
            context.record(folded=len(folded) - context.statistics.get("folded", 0))
        context.record(kept=len(obstacles))
        context.details.update(folded=folded, kept=obstacles)
        for why in dict.fromkeys(obstacles.values()):
            names = [f"%{name}" for name, reason in obstacles.items() if reason == why]
            context.note(f"{listing(names)}: not folded: {why}")
        drop_norms(module, own)
        return module


def fold(module: GraphModule, norm: Node) -> Fold | str:
    """Fold `norm` into a neighbour and return where it went, or return why it stays."""
    affine = affine_of(module, norm)
    if isinstance(affine, str):
        return affine
    before = fold_with_producer(module, norm, affine)
    if isinstance(before, Fold):
        fold_into_producer(module, norm, affine, before)
        return before
    after = fold_with_consumer(module, norm, affine)
    if isinstance(after, Fold):
        fold_into_consumer(module, norm, affine, after)
        return after
    return f"{before}; {after}"


def own_paths(norm: Node) -> set[str]:
    """Return the paths of the tensors that `norm` reads."""
    given = (argument(norm, name) for name in ("weight", "bias", "running_mean", "running_var"))
    return {str(source.target) for source in given if isinstance(source, Node)}


def drop_norms(module: GraphModule, paths: set[str]) -> None:
    """Remove the tensors of folded batch norms that nothing reads any more, and the counters beside them."""
    gone = drop_unused(module, paths)
    counters = {f"{path.rpartition('.')[0]}.num_batches_tracked".lstrip(".") for path in gone if path.endswith("running_mean")}
    drop_unused(module, counters)
