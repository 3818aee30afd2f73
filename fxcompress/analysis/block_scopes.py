"""Residual blocks as the modules that a person would name: a whole layer of a transformer, a bottleneck of a ResNet."""

from __future__ import annotations

from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from torch.fx import GraphModule, Node

from fxcompress.analysis.blocks import Block, residual_branches
from fxcompress.analysis.module_tree import Modules, depth, prefixes


@dataclass(frozen=True)
class Blocks:
    """The residual blocks of a graph, none inside another, in its order.

    Attributes:
        found: what can be removed.
        refused: module path or node of each sum that looks like a residual one -> why it is not removable.
    """

    found: tuple[Block, ...]
    refused: dict[str, str]


@dataclass(frozen=True, eq=False)
class Unit:
    """A block, with the kind of module that it is, so that repetitions are seen."""

    block: Block
    kind: Any


def residual_blocks(module: GraphModule, level: Literal["branch", "block"] = "block") -> Blocks:
    """Return the residual blocks of `module`.

    Args:
        level: `branch` gives each residual addition by itself. `block` takes those of one module together, with the
            norms and activations between and behind them, where the module gives the type that it is given: the
            smallest module around an addition, and a larger one where its parts are of different classes (an
            attention and a feed-forward) and another one like it follows. Parts of one class are a row of blocks.
    """
    branches = residual_branches(module)
    modules = Modules(module, branches.found)
    refused = {modules.path(node) or node.name: why for node, why in branches.refused.items()}
    units = [Unit(modules.named(branch), modules.kind(modules.inner(branch))) for branch in branches.found]
    if level == "block":
        units = widened(modules, homes(modules, units))
    return Blocks(tuple(unit.block for unit in units), refused)


class Row:
    """The units found so far, in the order of the graph, and by every module path above each."""

    def __init__(self) -> None:
        self.above: dict[Unit, list[str]] = {}
        self.inside: dict[str, list[Unit]] = defaultdict(list)

    def put(self, unit: Unit, path: str) -> None:
        self.above[unit] = prefixes(path)
        for above in self.above[unit]:
            insort(self.inside[above], unit, key=lambda one: one.block.exit)

    def put_for(self, parts: Iterable[Unit], unit: Unit, path: str) -> None:
        """Put `unit` in the place of `parts`."""
        for part in list(parts):
            for above in self.above.pop(part):
                self.inside[above].remove(part)
        self.put(unit, path)

    def units(self) -> list[Unit]:
        return sorted(self.above, key=lambda one: one.block.exit)


def homes(modules: Modules, units: Sequence[Unit]) -> Row:
    """Return for every branch the smallest module around it, as a block; the branch itself where that is none."""
    voters: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        voters[modules.around(unit.block)].append(unit)
    row = Row()
    # The outer modules come later, and what they hold goes into them.
    for path in sorted(voters, key=depth, reverse=True):
        inner = list(row.inside[path])
        whole = None if is_row(voters[path], inner) else modules.whole(path)
        if whole is not None:
            row.put_for(inner, Unit(whole, modules.kind(path)), path)
        else:
            for unit in voters[path]:
                row.put(unit, modules.inner(unit.block) or path)
    return row


def is_row(voters: Sequence[Unit], inner: Sequence[Unit]) -> bool:
    """Whether a module is a row of blocks: its branches repeat, or two alike among the blocks in it are neighbours."""
    parts = sorted([*voters, *inner], key=lambda unit: unit.block.exit)
    blocks = set(inner)
    alike = ({left, right} <= blocks and left.kind == right.kind for left, right in pairwise(parts))
    # Branches of one sum are beside each other, not behind.
    sums: dict[Node, list[Any]] = defaultdict(list)
    for unit in parts:
        sums[unit.block.exit].append(unit.kind)
    return periodic(list(sums.values())) or any(alike)


def periodic(kinds: Sequence[Any]) -> bool:
    """Whether `kinds` are a shorter row several times over: then their module holds a row of blocks."""
    return any(
        len(kinds) % size == 0 and list(kinds[:size]) * (len(kinds) // size) == list(kinds)
        for size in range(1, len(kinds) // 2 + 1)
    )


def repeats(kinds: Iterable[Any]) -> bool:
    """Whether one of `kinds` is there more than once."""
    return any(count > 1 for count in Counter(kinds).values())


def widened(modules: Modules, row: Row) -> list[Unit]:
    """Return the units of `row`, with those taken together that are the parts of a larger block.

    The parts are of different kinds, and the larger block is followed by another one like it.
    """
    depths = {depth(path) for path in row.inside}
    for level in sorted(depths, reverse=True):
        made = {path: unit for path in row.inside if depth(path) == level and (unit := together(modules, row, path))}
        links = {(unit.kind, unit.block.exit) for unit in made.values()}
        followed = {(unit.kind, unit.block.entry) for unit in made.values()}
        for path, unit in made.items():
            if (unit.kind, unit.block.entry) in links or (unit.kind, unit.block.exit) in followed:
                row.put_for(row.inside[path], unit, path)
    return row.units()


def together(modules: Modules, row: Row, path: str) -> Unit | None:
    """Return all units inside of `path` as one, None where they are alike or cannot go as one."""
    parts = list(row.inside[path])
    outer = path.rpartition(".")[0]
    # The list that a module keeps its parts in has no name of its own.
    only_a_list = path not in modules.kinds and outer in modules.kinds and len(row.inside[outer]) == len(parts)
    if len(parts) < 2 or only_a_list or repeats(unit.kind for unit in parts):
        return None
    blocks = [part.block for part in parts]
    block = modules.whole(path) or modules.stretch(path, blocks, blocks[0].entry, blocks[-1].exit)
    return None if block is None else Unit(block, tuple(part.kind for part in parts))
