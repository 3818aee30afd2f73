"""Which rule describes which operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from fxcompress.analysis.axes.op import Op

# What happens to a slot that is zero in what a call takes: how `analysis/axes/zeros.py` follows it to the outputs.
KEEP = "keep"  # a zero stays a zero: data are moved, or added up along other axes
POINTWISE = "pointwise"  # asked of the operator itself, on zeros
PRODUCT = "product"  # zero where either factor is, and what is added is
AFFINE = "affine"  # zero where scale and shift are
LOSE = "lose"  # zeros become some other finite number

Statement = Callable[[Op], None]


@dataclass(frozen=True)
class Rule:
    """What an operator does to axes, and what it does to slots that are zero."""

    state: Statement
    zeros: str


TABLE: dict[Any, Rule] = {}


def rule(*targets: Any, zeros: str = KEEP) -> Callable[[Statement], Statement]:
    """Register a function as the rule of `targets`: overloads, or packets for all overloads that have no own rule.

    An operator of a library that need not be there is named: `library::operator`.
    """

    def register(statement: Statement) -> Statement:
        for target in targets:
            TABLE[target] = Rule(statement, zeros)
        return statement

    return register


def named(*names: str) -> list[Any]:
    """Return the ATen packets of `names`, those that this torch has."""
    return [getattr(torch.ops.aten, name) for name in names if hasattr(torch.ops.aten, name)]
