"""One pruning step: analyse, rank, choose, remove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import GraphModule

from fxcompress.analysis.axes.analyse import Axes, analyse
from fxcompress.analysis.axes.apart import outers
from fxcompress.analysis.axes.axis import Pin
from fxcompress.analysis.axes.groups import Group, Left, groups_of
from fxcompress.analysis.axes.zeros import inexact
from fxcompress.contract import PassContext
from fxcompress.errors import PassFailed
from fxcompress.graph.tensors import named_tensors
from fxcompress.pruning.choosing.activations import gradients_of, observe_consumers
from fxcompress.pruning.choosing.budget import Ranked, below, by_ratio, keep_best, kept_of, left_of, to_budget
from fxcompress.pruning.choosing.candidates import apart, candidates
from fxcompress.pruning.choosing.costs import Costs
from fxcompress.pruning.choosing.evidence import Evidences
from fxcompress.pruning.choosing.importance import IMPORTANCES, Importance
from fxcompress.pruning.choosing.settings import Settings
from fxcompress.pruning.choosing.targeting import Targeting
from fxcompress.pruning.masked.dead import dead_ranked
from fxcompress.pruning.removing.places import Plan, Removed
from fxcompress.pruning.removing.plan import removed_by
from fxcompress.pruning.removing.rewrite import remove
from fxcompress.text import listing, plural, suggestion


@dataclass
class Selection:
    """What one step removed, and what it could not.

    Attributes:
        plan, removed: {tensor: {dim: positions}} that stay, and that are gone.
        rows: one a group that lost slots: name, size, kept, carriers.
        inexact: {group: why} of all free groups whose removal is not exact.
        unknown: {operator: calls} that no rule describes.
        slots, parameters: how many are gone.
        notes: sentences for the report.
    """

    plan: Plan = field(default_factory=dict)
    removed: Removed = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    inexact: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    slots: int = 0
    parameters: int = 0
    notes: list[str] = field(default_factory=list)


def prune_once(module: GraphModule, context: PassContext, settings: Settings) -> Selection:
    """Remove from `module` what `settings` ask for, and return what that was.

    Raises:
        PassFailed: a target, ratio or importance that does not exist, or a budget that cannot be met.
    """
    axes = analyse(module, context.resources.axis_rules)
    found = groups_of(axes)
    blame = inexact(axes)
    made = Selection(inexact=_reasons(found, blame), unknown={op: len(nodes) for op, nodes in axes.unknown.items()})
    targeting = Targeting(module, axes, context)
    chosen = targeting.chosen(found, settings.targets, settings.ignore)
    eligible = [group for group in chosen if not (settings.exact and _blamed(group, blame))]
    some = candidates(eligible, settings.factor)
    if settings.masked:
        ranked, counts = dead_ranked(module, axes, some, settings.min_channels)
    else:
        ranked = _rank(module, axes, context, settings, some, targeting, blame)
        counts = _counts(module, axes, context, settings, ranked)
    masks = keep_best(ranked, counts)
    alike = _alike(axes, [one for one in ranked if one.group.name in masks])
    before = {name: tuple(tensor.shape) for name, tensor in named_tensors(module)}
    count = _parameters(module)
    made.plan = remove(module, axes, kept_of(ranked, masks))
    made.removed = removed_by(made.plan, before)
    made.parameters = count - _parameters(module)
    for one in ranked:
        if one.group.name in masks:
            made.rows.append(_row(one.group, int(masks[one.group.name][0].sum())))
    made.slots = sum(row["size"] - row["kept"] for row in made.rows)
    made.notes = [*_notes(made, found, settings), *alike]
    return made


def _rank(
    module: GraphModule,
    axes: Axes,
    context: PassContext,
    settings: Settings,
    groups: Sequence[Group],
    targeting: Targeting,
    blame: Mapping[int, Pin],
) -> list[Ranked]:
    """Return every group with the scores of its slots."""
    criterion = find_importance(context, settings.criterion)
    own = targeting.ratios(groups, settings.ratios)
    evidences = _evidences(module, axes, context, settings, criterion)
    before = apart(axes, groups, blame)
    ranked = []
    for group in groups:
        outer = before.get(id(group.leaf), ())
        evidence = evidences.of(group, outer)
        if evidence.slices:
            scores = criterion.score(evidence).detach().double().cpu().numpy().reshape(-1, group.size)
            family = " ".join(sorted(one.kind for one in evidence.slices))
            original = settings.originals.get(group.name, group.size)
            ranked.append(Ranked(group, scores, own.get(group.name), family, original, outer))
    return ranked


def find_importance(context: PassContext, name: str) -> Importance:
    """Return the importance `name`, a plugin's or a built-in one.

    Raises:
        PassFailed: there is none; the nearest name is offered.
    """
    known = context.resources.importances or IMPORTANCES
    if name not in known:
        raise PassFailed(f"there is no importance {name!r}", hint=suggestion(name, known))
    found: Importance = known[name]
    return found


def _evidences(
    module: GraphModule, axes: Axes, context: PassContext, settings: Settings, criterion: Importance
) -> Evidences:
    observed = gradients = None
    if criterion.needs == "activations":
        observed = observe_consumers(module, axes, context.calibration())
    if criterion.needs == "gradients":
        if context.train is None:
            raise PassFailed(
                f"importance {criterion.name!r} needs training data",
                hint="give  fxc.compress(..., train=fxc.TrainingData(batches, loss))",
            )
        module.recompile()
        gradients = gradients_of(module, context.train, settings.batches)
    return Evidences(module, axes, context.generator(), observed, gradients)


def _counts(
    module: GraphModule, axes: Axes, context: PassContext, settings: Settings, ranked: Sequence[Ranked]
) -> Mapping[str, int]:
    """Return how many slots of each group stay."""
    if settings.threshold is not None:
        return below(ranked, settings.threshold, settings.limits)
    share = settings.macs if settings.macs is not None else settings.params
    if share is None:
        return by_ratio(ranked, settings.ratio, settings.scope, settings.limits)
    costs = Costs(module, axes, context.inputs)
    cost = costs.macs if settings.macs is not None else costs.params
    whole = cost(Left({})) if settings.original_cost is None else settings.original_cost
    counts = to_budget(ranked, settings.scope, settings.limits, cost, share * whole)
    if counts is None:
        least = cost(left_of(ranked, by_ratio(ranked, 1.0, settings.scope, settings.limits))) / whole
        what = "multiply-accumulates" if settings.macs is not None else "parameters"
        raise PassFailed(
            f"{share:.0%} of the {what} cannot be reached: at least {least:.0%} stay",
            hint="a smaller min_channels or round_to, or fewer layers under ignore, leave less",
        )
    return counts


def _parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _reasons(groups: Sequence[Group], blame: Mapping[int, Pin]) -> dict[str, str]:
    """Return why the removal of free groups is not exact: the call that is in the way."""
    rows = [(group.name, _blamed(group, blame)) for group in groups if group.free]
    return {name: f"%{pin.node.name} {pin.text}" for name, pin in rows if pin is not None}


def _blamed(group: Group, blame: Mapping[int, Pin]) -> Pin | None:
    return next((blame[id(leaf)] for leaf in group.leaves if id(leaf) in blame), None)


def _row(group: Group, kept: int) -> dict[str, Any]:
    return {"name": group.name, "size": group.size, "kept": kept, "carriers": [str(one) for one in group.carriers]}


def _alike(axes: Axes, losing: Sequence[Ranked]) -> list[str]:
    """Return a note on groups that stand in several places, all of which lose the same slots; none where there are."""
    before = outers(axes) if any(not one.outer for one in losing) else {}
    names = [one.group.name for one in losing if not one.outer and id(one.group.leaf) in before]
    why = "all their places (groups of a convolution, heads) lose the same slots, for others zeros would not say enough"
    return [f"{listing(names)}: {why}"] if names else []


def _notes(made: Selection, groups: Sequence[Group], settings: Settings) -> list[str]:
    notes = []
    if made.unknown:
        names = [f"{name} ({plural(count, 'call')})" for name, count in made.unknown.items()]
        notes.append(f"no rule describes {listing(names)}: all axes around stay (register_axis_rules)")
    if settings.exact and made.inexact:
        name, why = next(iter(made.inexact.items()))
        notes.append(f"exact: {plural(len(made.inexact), 'group')} left alone, the first {name}: {why}")
    if not made.rows:
        free = sum(group.free for group in groups)
        notes.append(f"nothing was removed; {free} of {len(groups)} groups may lose slots")
    return notes
