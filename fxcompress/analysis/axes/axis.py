"""Axes of values, and what rules state of them: links, pins and roles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from fxcompress.analysis.axes.terms import Term

EQUAL, VIEW, CAT, SLICE, GATHER, CONTRACT = "equal", "view", "cat", "slice", "gather", "contract"
SUMMED, AVERAGED, NORMALISED, RMS_NORMALISED = "summed", "averaged", "normalised", "rms-normalised"
TAPPED = "tapped"


class Axis:
    """One axis of one value: where it stands, how long it is (a dynamic size as a large prime), and its term."""

    __slots__ = ("dim", "size", "term", "value")

    def __init__(self, value: Value, dim: int, size: int) -> None:
        self.value, self.dim, self.size = value, dim, size
        self.term = Term(size)

    def __repr__(self) -> str:
        return f"{self.value} dim {self.dim}"


class Value:
    """One tensor of a graph: the node that gives it, which of its outputs it is, and its axes."""

    __slots__ = ("axes", "index", "node")

    def __init__(self, node: Node, index: int, sizes: Iterable[int]) -> None:
        self.node, self.index = node, index
        self.axes = tuple(Axis(self, dim, size) for dim, size in enumerate(sizes))

    def of(self, given: Any) -> torch.Tensor:
        """Return this tensor from what its node gives: one tensor, or several."""
        found: torch.Tensor = given[self.index] if isinstance(given, list | tuple) else given
        return found

    @property
    def dtype(self) -> torch.dtype:
        """The element type."""
        return self.of(self.node.meta["val"]).dtype

    def __repr__(self) -> str:
        return str(self.node.target) if self.node.op == "get_attr" else f"%{self.node.name}"


@dataclass(frozen=True)
class Link:
    """A rule's statement about axes: what it says, and the call that it says it of."""

    kind: str
    node: Node
    axes: tuple[Axis, ...]


@dataclass(frozen=True)
class Pin:
    """Why an axis keeps all its slots: the text, the call that wants it so, and the axis that it is said of."""

    text: str
    node: Node
    axis: Axis | None = None

    @property
    def of_one(self) -> Pin:
        """Why the same call pins what it cuts off as a piece of one position."""
        return Pin("leaves a piece of one position", self.node)


@dataclass(frozen=True)
class Role:
    """What a call does with slots that it does not hand on: contracts those of two axes, or reduces those of one.

    Attributes:
        kind: CONTRACT, SUMMED, AVERAGED, NORMALISED or RMS_NORMALISED; TAPPED where the model also returns them.
        axes: where the slots stand in what the call takes.
        term: the slots; all of the first axis, or one factor of it.
    """

    kind: str
    node: Node
    axes: tuple[Axis, ...]
    term: Term
