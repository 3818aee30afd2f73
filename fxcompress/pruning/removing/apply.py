"""Applying a plan to another checkpoint of the model that was pruned."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from fxcompress.analysis.axes.analyse import analyse
from fxcompress.capturing import Captured
from fxcompress.graph.shapes import propagate
from fxcompress.pruning.removing.places import Plan
from fxcompress.pruning.removing.planned import kept_by
from fxcompress.pruning.removing.rewrite import remove

if TYPE_CHECKING:
    from fxcompress.plugins import Plugins


def apply_plan(captured: Captured, plan: Plan, *, plugins: Plugins | None = None) -> Captured:
    """Remove from a captured model what `plan` removes, and return the smaller model; `captured` stays as it is.

    The plan need not name every tensor: what is coupled to a position goes with it. So the plan of a model whose batch
    norms were folded serves for one that still has them.

    Args:
        captured: another checkpoint of the model that was pruned, captured in the same way.
        plan: {name: {dim: positions that stay}}, as `result.plan`.
        plugins: those that describe operators of the model, if any does (`register_axis_rules`).

    Raises:
        UsageError: the plan names a tensor or a size that the model does not have, or positions that cannot go alone.
    """
    module = copy.deepcopy(captured.module)
    axes = analyse(module, plugins.axis_rules if plugins is not None else None)
    remove(module, axes, kept_by(module, axes, plan))
    propagate(module)
    module.recompile()
    return replace(captured, module=module)
