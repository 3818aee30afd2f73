"""Merging neurons that do the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch.fx import GraphModule, Node

from fxcompress.analysis.axes.analyse import Axes, analyse
from fxcompress.analysis.axes.groups import Group, Kept, groups_of
from fxcompress.analysis.axes.terms import leaves
from fxcompress.contract import Pass, PassContext, between, option, statistic
from fxcompress.graph.shapes import propagate
from fxcompress.pruning.merging.adding_up import Merged, mask_without, merge_group
from fxcompress.pruning.merging.following import touching
from fxcompress.pruning.removing.history import remember
from fxcompress.pruning.removing.rewrite import remove
from fxcompress.text import listing


@dataclass(frozen=True)
class Merge(Pass):
    """Merge parallel neurons: of those that compute the same, one stays.

    Two neurons are parallel where the cosine of their incoming weights and biases, with the batch norm behind them, is
    at least `similarity`. One of them goes, and its outgoing weights, times the ratio of the two, are added to those of
    the other. The ratio may differ from 1 only where all that stands between lets a factor through, such as relu and
    pooling; behind gelu or sigmoid both have to be the same. Duplicates are merged exactly, others as far as they are
    parallel.

    Neurons are the slots of the axis analysis: channels that several layers write, through residuals, are merged where
    all of these agree. They are left alone where something else than stored weights reads them (attention scores,
    norm layers over them); a note says so.

    Merging by the cosine of weights: Srinivas, Babu, Data-free parameter pruning for deep neural networks, 2015.

    `details`: `merged` maps each group that lost neurons to (kept, removed, scale) for each of those, in the numbers
    before the pass; `plan` maps each tensor to {axis: the positions that stay}.
    """

    name = "merge"
    fidelity = "lossy"
    similarity: float = option(0.99, help="cosine from which neurons are parallel", check=between(0.5, 1))
    targets: tuple[str, ...] = option((), help="modules, nodes or parameters whose neurons to merge; all if none")
    ignore: tuple[str, ...] = option((), help="modules, nodes or parameters to leave as they are")
    merged = statistic("neurons merged into others")
    groups = statistic("groups that lost neurons")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        axes = analyse(module, context.resources.axis_rules)
        outcomes = {}
        for group, nodes in self._chosen(module, axes, context):
            if len(group.leaves) > 1:
                outcomes[group] = Merged(why="a constant index takes its channels one by one")
            else:
                outcomes[group] = merge_group(module, axes, group, nodes, self.similarity)
        lost = {group: made.pairs for group, made in outcomes.items() if made.pairs}
        context.details["merged"] = {group.name: [*pairs] for group, pairs in lost.items()}
        context.record(merged=sum(map(len, lost.values())), groups=len(lost))
        tell(context, outcomes)
        kept = Kept({id(group.leaf): mask_without(group, pairs) for group, pairs in lost.items()})
        plan = remove(module, axes, kept) if lost else {}
        context.details["plan"] = plan
        if lost:
            remember(module, plan)
            propagate(module)
        return module

    def _chosen(self, module: GraphModule, axes: Axes, context: PassContext) -> Iterable[tuple[Group, list[Node]]]:
        """Yield the groups that may lose neurons and the calls around them, in the order of the graph."""
        selected = set(context.select(module, self.targets, self.ignore))
        ignored = set(context.select(module, self.ignore)) if self.ignore else set()
        around = touching(axes)
        for group in groups_of(axes):
            nodes = around.get(id(group.leaf), [])
            if not group.free or readers(axes, group, nodes) & ignored:
                continue
            if makers(axes, group, nodes) & selected:
                yield group, nodes


def readers(axes: Axes, group: Group, nodes: Iterable[Node]) -> set[Node]:
    """Return the calls among `nodes` that read a stored tensor with the group's slots."""
    carried = {id(carrier.axis.value) for carrier in group.carriers}
    return {node for node in nodes if any(id(axes.value(one)) in carried for one in node.all_input_nodes)}


def makers(axes: Axes, group: Group, nodes: Iterable[Node]) -> set[Node]:
    """Return those of them that give the slots."""
    found = set()
    for node in readers(axes, group, nodes):
        made = (axis for value in axes.values[node] if value is not None for axis in value.axes)
        if any(one is group.leaf for axis in made for one in leaves(axis.term)):
            found.add(node)
    return found


def tell(context: PassContext, outcomes: Mapping[Group, Merged]) -> None:
    """Note what was left alone and why, and where nothing was parallel."""
    left = {group.name: made.why for group, made in outcomes.items() if made.why is not None}
    for why in dict.fromkeys(left.values()):
        context.note(f"{listing([name for name, reason in left.items() if reason == why])}: left alone, {why}")
    looked_at = [made for made in outcomes.values() if made.why is None]
    if looked_at and not any(made.pairs for made in looked_at):
        nearest = max((made.nearest for made in looked_at if made.nearest is not None), default=None)
        tail = "" if nearest is None else f": the nearest two have a cosine of {nearest:.4f}"
        context.note(f"no neurons are parallel{tail}")
    elif not outcomes:
        context.note("no neurons can be merged: every one is an input, an output, or pinned by a call")
