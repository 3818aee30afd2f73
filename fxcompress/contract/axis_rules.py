"""What is demanded of a rule that a plugin describes an operator with, and what is made of one that has gaps."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

from torch._ops import OpOverload, OpOverloadPacket

from fxcompress.analysis.axes import AFFINE, KEEP, LOSE, POINTWISE, PRODUCT, Axis, Op, Rule, Statement
from fxcompress.errors import PassFailed, UsageError
from fxcompress.text import suggestion

ZEROS = (KEEP, POINTWISE, PRODUCT, AFFINE, LOSE)


def axis_rule(target: Any, state: Statement, zeros: str, plugin: str) -> Rule:
    """Return the rule of an operator, which a name `namespace::name` stands for where it need not be loaded.

    Where the function says nothing of an axis of the call, the rule pins it; where it fails, the plugin is named.

    Raises:
        UsageError: the target is no operator, the rule no function, or what becomes of zeros no word for that.
    """
    named = isinstance(target, str) and re.fullmatch(r"\w+::\w+", target)
    if not named and not isinstance(target, OpOverload | OpOverloadPacket):
        hint = "give  torch.ops.NAMESPACE.NAME  or  'NAMESPACE::NAME'"
        raise UsageError(f"axis rule for {target!r}, which is no operator", hint=hint)
    if not callable(state):
        raise UsageError(f"the axis rule for {target} is {state!r}", hint="give a function that takes an Op")
    if zeros not in ZEROS:
        raise UsageError(f"the axis rule for {target} says zeros={zeros!r}", hint=suggestion(str(zeros), ZEROS))
    return Rule(_guarded(state, plugin), zeros)


def _guarded(state: Statement, plugin: str) -> Statement:
    @functools.wraps(state)
    def stated(op: Op) -> None:
        try:
            state(op)
        except Exception as error:
            raise PassFailed(
                f"the axis rule for {op.node.target} of plugin {plugin!r} fails: {type(error).__name__}: {error}",
                op.node,
                hint=f"go on without it with  -p no:{plugin}",
            ) from error
        op.pin(_unspoken(op), "has a rule that says nothing of this axis")

    return stated


def _unspoken(op: Op) -> Iterator[Axis]:
    """Yield the axes of a call that no statement is about; of those that are pinned already the first reason stays."""
    spoken = {axis for link in op.links for axis in link.axes} | {axis for role in op.roles for axis in role.axes}
    values = (*op.tensors(), *(value for value in op.outputs if value is not None))
    yield from (axis for value in values for axis in value.axes if axis not in spoken)
