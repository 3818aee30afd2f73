"""What has to hold of the axes of one call: three laws that are checked by running it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from one_call import Call, Reader, build, summed
from torch.fx import GraphModule, Node

from fxcompress.analysis.axes.analyse import Axes, analyse
from fxcompress.analysis.axes.axis import Axis
from fxcompress.analysis.axes.groups import Kept
from fxcompress.analysis.axes.terms import Term, leaves
from fxcompress.analysis.axes.zeros import inexact
from fxcompress.graph.tensors import attribute
from fxcompress.pruning.removing.rewrite import remove
from fxcompress.testing.permuting import order_of, permute, random_orders


class Violated(AssertionError):
    """A law that a rule has to keep does not hold."""


def free_leaves(axes: Axes) -> list[Term]:
    """Return the leaves that slots may be taken from, wherever they stand."""
    found = {id(one): one for axis in axes.axes() if axis.size > 1 for one in leaves(axis.term)}
    return [one for one in found.values() if one.pin is None]


def check_permutation(one: Call, seed: int) -> None:
    """Permuting slots in what the call takes permutes them in what it gives, where the terms say."""
    built = build(one)
    axes = analyse(built.module)
    orders = random_orders(free_leaves(axes), seed)
    before = built.run()
    permute(built.module, axes, orders)
    for node, old, new in zip(built.results, before, built.run(), strict=True):
        for axis in _axes_of(axes, node):
            if axis.size > 1:
                old = old.index_select(axis.dim, torch.from_numpy(order_of(axis.term, orders)))
        _same(old, new, one, "permuted")


def check_removal(one: Call, seed: int, reader: Reader | None = None) -> None:
    """The call without slots gives what is left of what it gave, and sizes are as predicted.

    Slots that the call adds up over are set to zero before; those that are said to be inexact are left alone.
    """
    built = build(one, reader)
    axes = analyse(built.module)
    wrong = inexact(axes)
    kept = Kept(random_masks([leaf for leaf in free_leaves(axes) if id(leaf) not in wrong], seed))
    reduced = {id(leaf) for roles in axes.roles.values() for role in roles for leaf in leaves(role.term)}
    zero(built.module, axes, Kept({key: mask for key, mask in kept.masks.items() if key in reduced or reader}))
    expected = [
        _left(value, _axes_of(axes, node), kept) for node, value in zip(built.results, built.run(), strict=True)
    ]
    built.hold()
    remove(built.module, axes, kept)
    for old, new in zip(expected, built.run(), strict=True):
        _same(old, new, one, "without slots")


def check_sizes(one: Call, seed: int) -> None:
    """Sizes are as predicted when only some of the leaves lose slots, also those that are missed."""
    built = build(one)
    axes = analyse(built.module)
    chosen = np.random.default_rng(seed).random(len(free_leaves(axes))) < 0.5
    kept = Kept(random_masks([leaf for leaf, taken in zip(free_leaves(axes), chosen, strict=True) if taken], seed))
    expected = [
        _left(value, _axes_of(axes, node), kept) for node, value in zip(built.results, built.run(), strict=True)
    ]
    built.hold()
    remove(built.module, axes, kept)
    for old, new in zip(expected, built.run(), strict=True):
        if old.shape != new.shape:
            raise Violated(f"{one.target}: {list(old.shape)} expected, {list(new.shape)} found")


def checks(one: Call, seed: int) -> Iterator[Callable[[], None]]:
    """Yield every check of a call, as functions without arguments."""
    yield lambda: check_sizes(one, seed)
    yield lambda: check_removal(one, seed)
    if one.random:
        return
    yield lambda: check_permutation(one, seed)
    rank = max((len(node.meta["val"].shape) for node in build(one).results), default=0)
    for dim in range(rank):
        yield lambda dim=dim: check_removal(one, seed, summed(dim))  # type: ignore[misc]


def random_masks(some: Iterable[Term], seed: int) -> dict[int, np.ndarray]:
    """Return for each leaf, by its id, which slots stay: one at least goes, one at least stays.

    Of leaves of one slot, which a constant index has made, some go and the first stays.
    """
    generator = np.random.default_rng(seed)
    masks = {}
    units = 0
    for leaf in some:
        mask = np.zeros(leaf.size, bool)
        mask[generator.permutation(leaf.size)[: generator.integers(1, max(2, leaf.size))]] = True
        if leaf.size == 1:
            mask[0] = units == 0 or generator.random() < 0.5
            units += 1
        masks[id(leaf)] = mask
    return masks


def zero(module: GraphModule, axes: Axes, kept: Kept) -> None:
    """Set the slots that `kept` does not keep to zero in every stored tensor."""
    for path, value in axes.stored.items():
        for axis in value.axes:
            mask = kept.positions(axis.term) if axis.size > 1 else None
            if mask is not None:
                attribute(module, path).detach().movedim(axis.dim, 0)[torch.from_numpy(~mask)] = 0


def _axes_of(axes: Axes, node: Node) -> tuple[Axis, ...]:
    value = axes.value(node)
    return () if value is None else value.axes


def _left(value: torch.Tensor, axes: tuple[Axis, ...], kept: Kept) -> torch.Tensor:
    for axis in axes:
        mask = kept.positions(axis.term) if axis.size > 1 else None
        if mask is not None:
            value = value.index_select(axis.dim, torch.from_numpy(mask.nonzero()[0]))
    return value


def _same(old: torch.Tensor, new: torch.Tensor, one: Call, what: str) -> None:
    if old.shape != new.shape:
        raise Violated(f"{one.target} {what}: {list(old.shape)} expected, {list(new.shape)} found")
    near = 1e-6 if old.dtype == torch.float32 else 1e-10
    if not one.random and not torch.allclose(old, new, rtol=near, atol=near, equal_nan=True):
        raise Violated(f"{one.target} {what}: differs by {(old.double() - new.double()).abs().max()}")


def letters(one: Call) -> str:
    """Return what the analysis says of the axes, as `Call.free` writes it."""
    built = build(one)
    axes = analyse(built.module)
    given = [_word(value.axes) for value in axes.stored.values()]
    results = [_word(_axes_of(axes, node)) for node in built.results]
    return " ".join([*given, "->", *results])


def _word(axes: tuple[Axis, ...]) -> str:
    return "".join(map(_letter, axes)) or "."


def _letter(axis: Axis) -> str:
    if axis.size <= 1:
        return "1"
    free = {one.pin is None for one in leaves(axis.term)}
    return "m" if len(free) == 2 else "f" if free == {True} else "p"
