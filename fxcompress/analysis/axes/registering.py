"""How a plugin hands over a rule."""

from __future__ import annotations

from typing import Any, Protocol

from fxcompress.analysis.axes.rules import LOSE
from fxcompress.analysis.axes.rules.table import Statement


class RegisterAxisRule(Protocol):
    """The function that the hook `register_axis_rules` is called with."""

    def __call__(self, target: Any, rule: Statement, zeros: str = LOSE) -> None:
        """Register a rule.

        Args:
            target: the operator: `torch.ops.mine.scan` for all overloads, `torch.ops.mine.scan.default` for one, or the
                name "mine::scan" where the library that brings it need not be there.
            rule: a function of an `Op`.
            zeros: what becomes of a slot that is zero in all that the call takes: KEEP, POINTWISE, PRODUCT, AFFINE or
                LOSE. LOSE, some other finite number, claims least.
        """
