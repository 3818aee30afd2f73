"""Pruning in several steps, with training between them, so that what is left can take over."""

from __future__ import annotations

from dataclasses import replace

from torch.fx import GraphModule

from fxcompress.analysis.axes.analyse import analyse
from fxcompress.analysis.axes.groups import Left, groups_of
from fxcompress.contract import PassContext
from fxcompress.errors import PassFailed
from fxcompress.graph.shapes import propagate
from fxcompress.graph.tensors import named_tensors
from fxcompress.pruning.choosing.costs import Costs
from fxcompress.pruning.choosing.selection import Selection, prune_once
from fxcompress.pruning.choosing.settings import Settings
from fxcompress.pruning.removing.places import Plan, taken
from fxcompress.pruning.removing.plan import followed_by, removed_by
from fxcompress.sparsity import bake_masks, insert_mask
from fxcompress.training import train_once


def prune_in_steps(
    module: GraphModule, context: PassContext, settings: Settings, steps: int, learning_rate: float
) -> Selection:
    """Remove an equal share in each of `steps`, and train for an epoch after each but the last.

    Raises:
        PassFailed: there is no training data, or what `prune_once` raises.
    """
    if context.train is None:
        raise PassFailed(
            "pruning in steps needs training data",
            hint="give  fxc.compress(..., train=fxc.TrainingData(batches, loss)), or steps=1",
        )
    settings = _with_originals(module, context, settings)
    before = {name: tuple(tensor.shape) for name, tensor in named_tensors(module)}
    total = Selection()
    for step in range(1, steps + 1):
        made = prune_once(module, context, _at(settings, step / steps))
        total = added(total, made)
        propagate(module)
        module.recompile()
        if step < steps:
            loss = train_masked(module, context, total.plan, learning_rate, step)
            total.notes.append(f"step {step} of {steps}: mean training loss {loss:.4g}")
    total.removed = removed_by(total.plan, before)
    return total


def train_masked(module: GraphModule, context: PassContext, plan: Plan, learning_rate: float, step: int) -> float:
    """Train for an epoch under the masks that were taken off before the pass, cut to what `plan` leaves."""
    assert context.train is not None
    for path, mask in context.masks.items():
        insert_mask(module, path, taken(mask, plan.get(path, {})))
    module.recompile()
    loss = train_once(module, context.train, learning_rate, context.seed + step, context)
    bake_masks(module)
    module.recompile()
    return loss


def _with_originals(module: GraphModule, context: PassContext, settings: Settings) -> Settings:
    """Remember what shares are of: sizes and cost before the first step."""
    axes = analyse(module, context.resources.axis_rules)
    sizes = {group.name: group.size for group in groups_of(axes)}
    costs = Costs(module, axes, context.inputs)
    whole = costs.macs(Left({})) if settings.macs is not None else costs.params(Left({}))
    return replace(settings, originals=sizes, original_cost=whole)


def _at(settings: Settings, done: float) -> Settings:
    """Return the settings of a step after which the share `done` of the removal is done."""
    return replace(
        settings,
        ratio=settings.ratio * done,
        ratios=tuple(_scaled(word, done) for word in settings.ratios),
        macs=None if settings.macs is None else 1 - (1 - settings.macs) * done,
        params=None if settings.params is None else 1 - (1 - settings.params) * done,
        threshold=None if settings.threshold is None else settings.threshold * done,
    )


def _scaled(word: str, done: float) -> str:
    pattern, _, number = word.rpartition(":")
    return f"{pattern}:{float(number) * done}"


def added(total: Selection, made: Selection) -> Selection:
    """Return what two steps did together; groups keep their names."""
    first = {row["name"]: row["size"] for row in total.rows}
    rows = {row["name"]: row for row in total.rows}
    for row in made.rows:
        rows[row["name"]] = {**row, "size": first.get(row["name"], row["size"])}
    return Selection(
        plan=followed_by(total.plan, made.plan),
        rows=list(rows.values()),
        inexact=made.inexact,
        unknown=made.unknown,
        slots=total.slots + made.slots,
        parameters=total.parameters + made.parameters,
        notes=[*total.notes, *(note for note in made.notes if note not in total.notes)],
    )
