"""What is demanded of a rule that describes an operator, before any graph is looked at with it."""

from __future__ import annotations

import re
from typing import Any

from torch._ops import OpOverload, OpOverloadPacket

from fxcompress.analysis.axes import AFFINE, KEEP, LOSE, POINTWISE, PRODUCT, Rule, Statement
from fxcompress.errors import UsageError
from fxcompress.text import suggestion

ZEROS = (KEEP, POINTWISE, PRODUCT, AFFINE, LOSE)


def axis_rule(target: Any, state: Statement, zeros: str) -> Rule:
    """Return the rule of an operator, which a name `namespace::name` stands for where it need not be loaded.

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
    return Rule(state, zeros)
