"""Where the sizes in a module's attributes may come from: axes of its tensors that are of the same size.

All modules of a class are taken together. A source that is right for one of them and not for another is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from fxcompress.pruning.removing.places import Dims, Places
from fxcompress.writing_back.saved import own_tensors

_COUNTED = re.compile(r"(?i)^(?!.*(dim|size|width)).*head")
# An attribute, and which item of it where it is a tuple or list.
Key = tuple[str, int | None]


@dataclass(frozen=True)
class Axis:
    """An axis of a tensor: its old size, and the positions that stay, None where all do."""

    size: int
    kept: tuple[int, ...] | None

    @property
    def left(self) -> int:
        return self.size if self.kept is None else len(self.kept)


@dataclass(frozen=True)
class Source:
    """An axis that an attribute may speak of.

    Attributes:
        path: of the tensor, from the module on.
        dim: of the axis.
        count: whether the attribute is a factor of the size (heads, groups, the size of a head), and not the size.
    """

    path: str
    dim: int
    count: bool = False

    @property
    def depth(self) -> int:
        return self.path.count(".")

    def value(self, old: int, axes: dict[tuple[str, int], Axis]) -> int | None:
        """Return what the attribute becomes in a module with `axes`; None where it does not speak of this one."""
        axis = axes.get((self.path, self.dim))
        if axis is None:
            return None
        if not self.count:
            return axis.left if axis.size == old else None
        divides = axis.size % old == 0 and axis.size != old and axis.left * old % axis.size == 0
        return axis.left * old // axis.size if divides else None


@dataclass
class Guess:
    """An attribute of all modules of a class.

    Attributes:
        owner: the class.
        name: of the attribute.
        place: which item of it, where it is a tuple or list; None where it is a number.
        sources: what it may speak of, the likely first; None stands for "it stays".
    """

    owner: type[nn.Module]
    name: str
    place: int | None
    sources: list[Source | None] = field(default_factory=list)


@dataclass(frozen=True)
class Holder:
    """A module with the axes that it sees."""

    path: str
    module: nn.Module
    axes: dict[tuple[str, int], Axis]
    numbers: dict[Key, int]


def whole_blocks(axis: Axis, block: int) -> bool:
    """Whether of every run of `block` positions all stay or none does."""
    if axis.kept is None:
        return axis.size % block == 0
    stays = torch.zeros(axis.size, dtype=torch.bool)
    stays[list(axis.kept)] = True
    rows = stays.view(-1, block)
    return bool((rows.all(1) == rows.any(1)).all())


def holders_of(model: nn.Module, kept: dict[int, Dims], skip: set[int]) -> list[Holder]:
    """Return the modules that have number attributes and axes that a plan prunes.

    Args:
        model: with the sizes of before.
        kept: by the id of a tensor, what stays of its dims.
        skip: ids of modules whose attributes are known.
    """
    made = []
    known: dict[int, list[Axis]] = {}
    for path, module in model.named_modules():
        if id(module) not in skip and _numbers(module):
            axes, numbers = _axes(module, kept, known), _numbers(module)
            if axes and numbers:
                made.append(Holder(path, module, axes, numbers))
    return made


def _axes(module: nn.Module, kept: dict[int, Dims], known: dict[int, list[Axis]]) -> dict[tuple[str, int], Axis]:
    """Return the axes of all tensors in `module`, of two positions or more; none where nothing goes of any."""
    found = {}
    for path, inner in module.named_modules():
        for name, tensor in own_tensors(inner).items():
            if id(tensor) not in known:
                known[id(tensor)] = _axes_of(tensor, kept.get(id(tensor), {}))
            for dim, axis in enumerate(known[id(tensor)]):
                found[f"{path}.{name}" if path else name, dim] = axis
    found = {where: axis for where, axis in found.items() if axis.size > 1}
    return found if any(axis.kept is not None for axis in found.values()) else {}


def _axes_of(tensor: torch.Tensor, kept: Dims) -> list[Axis]:
    return [_axis(size, kept.get(dim)) for dim, size in enumerate(tensor.shape)]


def _axis(size: int, places: Places | None) -> Axis:
    """Return an axis; of one of which each group of a convolution keeps its own positions those of the first."""
    row = places[0] if isinstance(places, tuple) else places
    return Axis(size, None if row is None or len(row) == size else tuple(row))


def _numbers(module: nn.Module) -> dict[Key, int]:
    """Return the whole numbers above 1 among the attributes of `module` itself, and in its tuples and lists."""
    found: dict[Key, int] = {}
    for name, value in module.__dict__.items():
        items = list(enumerate(value)) if type(value) in (tuple, list, torch.Size) else [(None, value)]
        found.update({(name, place): item for place, item in items if type(item) is int and item > 1})
    return found


def guesses_of(holders: list[Holder]) -> list[Guess]:
    """Return the attributes that may have to change, with what each may speak of."""
    by_class: dict[type[nn.Module], list[Holder]] = {}
    for holder in holders:
        by_class.setdefault(type(holder.module), []).append(holder)
    return [guess for owner, group in by_class.items() for guess in _of_class(owner, group)]


def _of_class(owner: type[nn.Module], group: list[Holder]) -> Iterator[Guess]:
    for key in dict.fromkeys(key for holder in group for key in holder.numbers):
        having = [holder for holder in group if key in holder.numbers]
        sources = _sources(having, key)
        likely = _likely(sources, having, key)
        found = _distinct([*likely, None, *sources], having, key)
        if len(found) > 1:
            yield Guess(owner, *key, found)


def _sources(having: list[Holder], key: Key) -> list[Source]:
    """Return what holds for every module that has the attribute: sizes of near tensors first, then counts."""
    near = sorted(having[0].axes, key=lambda axis: axis[0].count("."))
    return [
        source
        for source in (Source(*axis, count) for count in (False, True) for axis in near)
        if all(source.value(holder.numbers[key], holder.axes) is not None for holder in having)
    ]


def _effect(source: Source | None, having: list[Holder], key: Key) -> tuple[int | None, ...]:
    """Return what the attribute becomes in every module."""
    return tuple(
        holder.numbers[key] if source is None else source.value(holder.numbers[key], holder.axes) for holder in having
    )


def _distinct(sources: list[Source | None], having: list[Holder], key: Key) -> list[Source | None]:
    """Return the first of the sources of each effect."""
    effects: dict[tuple[int | None, ...], Source | None] = {}
    for source in sources:
        effects.setdefault(_effect(source, having, key), source)
    return list(effects.values())


def _likely(sources: list[Source], having: list[Holder], key: Key) -> list[Source]:
    """Return the sources to try before leaving the attribute as it is.

    Sizes are, unless a tensor that is no farther away has an axis of that size of which nothing goes. Counts of heads
    are; other counts are changed only where the run asks for it, since a small number may count anything.
    """
    before = _effect(None, having, key)
    changing = [source for source in sources if _effect(source, having, key) != before]
    sizes = [source for source in changing if not source.count]
    staying = [source.depth for source in sources if not source.count and all(_stays(source, one) for one in having)]
    if sizes:
        return [source for source in sizes if source.depth < min(staying, default=99)]
    if not _COUNTED.search(key[0]):
        return []
    return [source for source in changing if all(_counts(source, holder, holder.numbers[key]) for holder in having)]


def _stays(source: Source, holder: Holder) -> bool:
    axis = holder.axes[source.path, source.dim]
    return axis.left == axis.size


def _counts(source: Source, holder: Holder, count: int) -> bool:
    """Whether `count` counts whole blocks, of a size that stands beside it or else of the largest that are whole."""
    axis = holder.axes[source.path, source.dim]
    block = axis.size // count
    if source.depth > 1 or not whole_blocks(axis, block) or (count > block and whole_blocks(axis, count)):
        return False
    if block in holder.numbers.values():
        return True
    others = [size for size in holder.numbers.values() if 1 < size < block and axis.size % size == 0]
    largest = not any(count % factor == 0 and whole_blocks(axis, block * factor) for factor in range(2, count + 1))
    return largest and not any(whole_blocks(axis, size) for size in others if size != count)


def assign(holder: Holder, guess: Guess, source: Source | None) -> tuple[Any, Any] | None:
    """Set the attribute of one module by a source; return the old value and the new one where they differ."""
    old = holder.numbers.get((guess.name, guess.place))
    new = None if source is None or old is None else source.value(old, holder.axes)
    if new is None or new == old:
        return None
    held = getattr(holder.module, guess.name)
    if guess.place is not None:
        items = [new if place == guess.place else item for place, item in enumerate(held)]
        setattr(holder.module, guess.name, type(held)(items))
    else:
        setattr(holder.module, guess.name, new)
    return old, new
