"""Which places of a student are compared with which of its teacher: as told, else by path, then by shape and order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from torch.fx import GraphModule

from fxcompress.analysis.sizes import concrete
from fxcompress.distilling.stages import stages
from fxcompress.errors import PassFailed
from fxcompress.teaching import Tap, find_taps, tapped
from fxcompress.teaching.results import OUTPUT, result_nodes
from fxcompress.text import listing

Shape = tuple[int, ...]
ARROW = "->"


@dataclass(frozen=True)
class Pair:
    """Two places whose features are compared.

    Attributes:
        student, teacher: names of taps.
        mine, theirs: shapes of their values for one sample.
    """

    student: str
    teacher: str
    mine: Shape
    theirs: Shape

    def __str__(self) -> str:
        return self.student if self.student == self.teacher else f"{self.student}{ARROW}{self.teacher}"


class Side(Protocol):
    """The places of a student or of a teacher."""

    def find(self, text: str) -> dict[str, Shape]:
        """Return names and shapes of the places that `text` means, at least one.

        Raises:
            PassFailed: it means none, or one place of several; names them.
        """

    def offered(self) -> dict[str, Shape]:
        """Return names and shapes of the places that are taken where nobody says which, in their order."""


class GraphSide:
    """The places of a graph."""

    def __init__(self, module: GraphModule) -> None:
        self.module = module

    def find(self, text: str) -> dict[str, Shape]:
        return {tap.name: self._shape(tap) for tap in find_taps(self.module, [text])}

    def _shape(self, tap: Tap) -> Shape:
        """Return the shape of what a tap keeps of one sample."""
        if tap.transform.top is not None:
            raise PassFailed(f"{tap.text!r} keeps logits in parts, which are no features", hint="leave topk out")
        if tap.transform.steps:
            node = tapped(self.module, [tap]).graph.output_node().all_input_nodes[-1]
        else:
            node = next(node for node in self.module.graph.nodes if node.name == tap.node)
        return tuple(concrete(size) for size in node.meta["val"].shape[1:])

    def offered(self) -> dict[str, Shape]:
        results = {node.name for node in result_nodes(self.module).values()}
        found: dict[str, Shape] = {}
        for path in stages(self.module):
            try:
                taps = find_taps(self.module, [path])
            except PassFailed:
                # A module that gives several values, or is called several times: which is meant has to be said.
                continue
            if taps[0].node not in results:
                found |= self.find(path)
        return found


@dataclass(frozen=True)
class CachedSide:
    """The places of a teacher whose answers were captured.

    Attributes:
        shapes: of the answers for one sample, by their names.
    """

    shapes: Mapping[str, Shape]

    def find(self, text: str) -> dict[str, Shape]:
        if text not in self.shapes:
            kept = listing(list(self.shapes))
            raise PassFailed(f"{text!r} was not captured of the teacher", hint=f"there are: {kept}")
        return {text: self.shapes[text]}

    def offered(self) -> dict[str, Shape]:
        return {name: shape for name, shape in self.shapes.items() if name.split(".")[0].split("|")[0] != OUTPUT}


def matched(student: Side, teacher: Side, texts: Sequence[str]) -> tuple[Pair, ...]:
    """Return the pairs that `texts` tell, `student->teacher` or one text for both; without any those that are found.

    Raises:
        PassFailed: a text means nothing, or not as many places on both sides; nothing is found; shapes do not go
            together.
    """
    pairs = [pair for text in texts for pair in _told(student, teacher, text)] if texts else _found(student, teacher)
    for pair in pairs:
        _check(pair)
    return tuple(pairs)


def _told(student: Side, teacher: Side, text: str) -> list[Pair]:
    mine, arrow, theirs = text.partition(ARROW)
    first = student.find(mine)
    if not arrow:
        return [Pair(name, name, shape, teacher.find(name)[name]) for name, shape in first.items()]
    second = teacher.find(theirs)
    if len(first) != len(second):
        why = f"{text!r} pairs {len(first)} of the student ({listing(list(first))}) with {len(second)} of the teacher"
        raise PassFailed(f"{why} ({listing(list(second))})")
    rows = zip(first.items(), second.items(), strict=True)
    return [Pair(name, other, shape, its) for (name, shape), (other, its) in rows]


def _found(student: Side, teacher: Side) -> list[Pair]:
    theirs = teacher.offered()
    mine = student.offered() | _also(student, theirs)
    same = [name for name in mine if name in theirs and len(mine[name]) == len(theirs[name])]
    pairs = [Pair(name, name, mine[name], theirs[name]) for name in same]
    if not pairs:
        pairs = _by_order(mine, theirs)
    if not pairs:
        sides = f"of the student {_typed(mine)}; of the teacher {_typed(theirs)}"
        raise PassFailed(f"no places go together: {sides}", hint="tell them: pairs=student.path->teacher.path")
    return pairs


def _also(student: Side, theirs: Mapping[str, Shape]) -> dict[str, Shape]:
    """Return places of the student that have the names of transformed ones of the teacher."""
    found: dict[str, Shape] = {}
    for name in theirs:
        if "|" in name:
            with suppress(PassFailed):
                found |= student.find(name)
    return found


def _by_order(mine: Mapping[str, Shape], theirs: Mapping[str, Shape]) -> list[Pair]:
    """Pair places of the same space in their order, the last with the last, others as evenly as may be."""
    pairs = []
    for space in dict.fromkeys(map(_space, mine.values())):
        first = [name for name, shape in mine.items() if _space(shape) == space]
        second = [name for name, shape in theirs.items() if _space(shape) == space]
        few = min(len(first), len(second))
        for a, b in zip(_spread(first, few), _spread(second, few), strict=True):
            pairs.append(Pair(a, b, mine[a], theirs[b]))
    return pairs


def _spread(names: Sequence[str], count: int) -> list[str]:
    """Return `count` of `names`, evenly spread, the last among them."""
    return [names[round((i + 1) * len(names) / count) - 1] for i in range(count)]


def _space(shape: Shape) -> Shape:
    """Return what places of one stage have in common: the height and width of images, the dimensions of others."""
    return shape[1:] if len(shape) > 2 else (-1,) * len(shape)


def _check(pair: Pair) -> None:
    if len(pair.mine) != len(pair.theirs):
        why = f"{pair.student} of the student has shape {list(pair.mine)} a sample"
        raise PassFailed(
            f"{why}, {pair.teacher} of the teacher {list(pair.theirs)}",
            hint="only sizes may differ, not the number of dimensions; a transform may help: path|pool",
        )


def _typed(places: Mapping[str, Shape]) -> str:
    return listing([f"{name} {list(shape)}" for name, shape in places.items()]) or "none"
