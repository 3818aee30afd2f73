"""What a student is to learn from its teacher: losses, their weights over time, and which places go together."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from fxcompress.errors import UsageError
from fxcompress.text import suggestion

# Between what is predicted, between what is seen inside, and of the labels.
PREDICTIONS = ("soft", "dkd", "binary")
# Only these need as many channels on both sides.
PROJECTED = ("hint", "cosine")
FEATURES = (*PROJECTED, "attention", "relational", "similarity")
LOSSES = (*PREDICTIONS, "hard", *FEATURES)

_TERM = re.compile(r"(?P<loss>[a-z]+)(:(?P<first>[0-9.e+-]+?)(\.\.(?P<last>[0-9.e+-]+))?)?")


@dataclass(frozen=True)
class Term:
    """One loss and its weight, which may change along a line from the first step to the last.

    It is written `soft`, `soft:0.9`, or `hint:1..0`.
    """

    loss: str
    first: float = 1.0
    last: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the term that `text` spells.

        Raises:
            UsageError: there is no such loss, or its weight is no number of 0 or more.
        """
        found = _TERM.fullmatch(text)
        name = found["loss"] if found else text.partition(":")[0]
        if name not in LOSSES:
            raise UsageError(f"there is no loss {name!r}", hint=suggestion(name, LOSSES))
        try:
            first = float(found["first"] or 1) if found else -1.0
            last = float(found["last"]) if found and found["last"] else first
        except ValueError:
            first = last = -1.0
        if first < 0 or last < 0:
            raise UsageError(f"{text!r} has no weight", hint=f"write  {name}:0.5  or, from first to last,  {name}:1..0")
        return cls(name, first, last)

    def weight(self, done: float) -> float:
        """Return the weight when the share `done` of the training is done."""
        return self.first + (self.last - self.first) * done


@dataclass(frozen=True)
class Recipe:
    """How a student learns from a teacher.

    Args:
        terms: losses, added up with their weights.
        pairs: what features are compared of, `student->teacher` or one text for both; as taps are written. Empty:
            found by path, then by shape and order.
        temperature: of soft targets.
        others: weight of the classes that are not right in `dkd`, beta of the paper.
        logits: which of several results the predictions are, or the place in the model where they are; None: the only
            result, or that of the name `logits`.
        mask: name of an input that is not zero where there is a token; other places do not count. None: all do.
    """

    terms: tuple[Term, ...] = (Term("soft"),)
    pairs: tuple[str, ...] = ()
    temperature: float = 4.0
    others: float = 8.0
    logits: str | None = None
    mask: str | None = None

    def uses(self, *losses: str) -> bool:
        """Whether one of `losses` is among the terms."""
        return any(term.loss in losses for term in self.terms)
