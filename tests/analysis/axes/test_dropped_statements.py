"""Every statement of every rule is needed: without any one of them a law breaks.

The k-th statement that a rule makes of its call is swallowed. The checks that hold with all statements must then fail,
on the case itself or on another size of it. What is left over is listed with the reason why nothing is lost with it.
"""

from __future__ import annotations

import contextlib
import warnings

import pytest
import torch
from all_cases import CASES
from laws import checks
from one_call import Call, Numbers, build

from fxcompress.analysis.axes.analyse import analyse
from fxcompress.analysis.axes.op import Op
from fxcompress.analysis.axes.terms import LEAF, Term, find

STATEMENTS = (
    "equal", "view", "grouped", "cat", "slice", "stride", "repeated", "pin", "contract", "contract_groups", "reduce",
)  # fmt: skip
SEEDS = (1, 2, 3, 4)
# Statements without which the axes differ and all laws hold, by case, with the reason. There are none.
EQUIVALENT: dict[str, list[str]] = {}


class Swallowing:
    """Swallows one statement of an Op's rule; statements that others are made of count once.

    Attributes:
        made: the name of each statement, in order.
    """

    def __init__(self, target: str, skipped: int | None = None) -> None:
        self.target, self.skipped = target, skipped
        self.made: list[str] = []
        self.inside = False

    def wrap(self, name: str):
        whole = getattr(Op, name)

        def statement(op, *args, **kwargs):
            if self.inside or str(op.node.target) != self.target:
                return whole(op, *args, **kwargs)
            self.made.append(name)
            if len(self.made) - 1 == self.skipped:
                return None
            self.inside = True
            try:
                return whole(op, *args, **kwargs)
            finally:
                self.inside = False

        return statement


@contextlib.contextmanager
def swallowing(one: Call, skipped: int | None):
    """Let the rule of `one` lose a statement, each time that it is asked."""
    made = Swallowing(f"aten.{one.target}", skipped)
    whole = {name: getattr(Op, name) for name in (*STATEMENTS, "__init__")}

    def fresh(op, *args, **kwargs):
        whole["__init__"](op, *args, **kwargs)
        if str(op.node.target) == made.target:
            made.made.clear()

    wrapped = {name: made.wrap(name) for name in STATEMENTS}
    try:
        for name, statement in wrapped.items():
            setattr(Op, name, statement)
        Op.__init__ = fresh
        yield made
    finally:
        for name, statement in whole.items():
            setattr(Op, name, statement)


def broken(one: Call, skipped: int, seed: int) -> bool:
    """Whether a law breaks when the rule loses its statement `skipped`."""
    with swallowing(one, skipped):
        for check in checks(one, seed):
            try:
                check()
            except Exception:  # noqa: BLE001  whatever the wrong sizes lead to
                return True
    return False


def survivors(name: str) -> list[str]:
    """Return the statements of a case without which all laws hold, as `3 equal`."""
    one = CASES[name](Numbers.seeded(SEEDS[0]))
    with swallowing(one, None) as made:
        findings(one)
    found = []
    for place, statement in enumerate(list(made.made)):
        cases = [CASES[name](Numbers.seeded(seed)) for seed in SEEDS]
        if all(same_without(case, place) for case in cases):
            continue
        if not any(broken(case, place, seed) for case, seed in zip(cases, SEEDS, strict=True)):
            found.append(f"{place} {statement}")
    return found


def same_without(one: Call, skipped: int) -> bool:
    """Whether the axes are the same without a statement: it is about axes of one position, or follows from others."""
    with swallowing(one, None):
        whole = findings(one)
    with swallowing(one, skipped):
        return findings(one) == whole


def findings(one: Call) -> list[str]:
    """Return all that an analysis finds: of every axis the term, its leaves by number, and what is done to slots."""
    axes = analyse(build(one).module)
    numbers: dict[int, int] = {}

    def text(term: Term) -> str:
        term = find(term)
        if term.kind != LEAF:
            return f"{term.kind}({', '.join(map(text, term.parts))})"
        return f"{numbers.setdefault(id(term), len(numbers))}{'!' if term.pin is not None else ''}"

    found = [f"{axis!r} {text(axis.term)}" for axis in axes.axes()]
    roles = [role for row in axes.roles.values() for role in row]
    return [*found, *(f"{role.kind} {role.axes} {text(role.term)}" for role in roles)]


@pytest.fixture(autouse=True)
def _warnings_of_torch():
    """Some operators warn that they will change; that is not what is tested."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@pytest.mark.parametrize("name", CASES)
def test_no_statement_of_a_rule_can_go(name):
    torch.manual_seed(0)
    assert survivors(name) == EQUIVALENT.get(name, [])


def test_the_harness_swallows_what_it_says():
    one = CASES["linear"](Numbers.seeded(1))
    with swallowing(one, None) as made:
        whole = findings(one)
    assert made.made == ["contract", "equal", "equal"]
    with swallowing(one, 0):
        assert findings(one) != whole
    assert findings(one) == whole
