"""Signatures: what has to agree for one slot to be a multiple of another, wherever it goes.

A signature belongs to one tensor and one group. It says: where the `scaled` blocks of slot j are s times those of slot
i, and the `equal` blocks of both are the same, slot j of the tensor is s times slot i, for a positive s. Without
`scaled` blocks the two slots are the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch.fx import GraphModule

from fxcompress.analysis.axes.axis import Axis
from fxcompress.analysis.axes.positions import positions_of
from fxcompress.analysis.axes.terms import Term, find
from fxcompress.graph.tensors import attribute


class Block:
    """Numbers that belong to the slots of a group, computed when they are first asked for."""

    def __init__(self, make: Callable[[], torch.Tensor]) -> None:
        self._make = make

    @functools.cached_property
    def rows(self) -> torch.Tensor:
        """f64[slots, elements]."""
        return self._make().flatten(1).double()


@dataclass(frozen=True, eq=False)
class Affine:
    """A tensor each slot of which is a fixed affine map of something that no slot has a part in.

    Attributes:
        term: the axis that the slots stand in.
        rows: f64[slots, times, width + 1]: for each place of a slot in the axis the map's weights and its shift.
    """

    term: Term
    rows: torch.Tensor

    def then(self, scale: torch.Tensor, shift: torch.Tensor) -> Affine:
        """Return the map with another one behind it: f64[slots, times] each."""
        weights, old = self.rows[..., :-1], self.rows[..., -1]
        return Affine(self.term, torch.cat([weights * scale[..., None], (old * scale + shift)[..., None]], -1))

    def signature(self) -> Signature:
        return Signature((Block(lambda: self.rows),), (), affine=self)


@dataclass(frozen=True, eq=False)
class Signature:
    """What has to agree for two slots of a tensor to be multiples of each other.

    Attributes:
        scaled: blocks that may differ by the factor, the same for all of them.
        equal: blocks that have to be the same.
        affine: the tensor as an affine map, where it is one.
        stored: the name of the stored tensor that this is, or a view of.
    """

    scaled: tuple[Block, ...]
    equal: tuple[Block, ...]
    affine: Affine | None = None
    stored: str | None = None

    def alone(self) -> Signature:
        """Return the signature of a tensor that is a positively homogeneous function of this one, slot by slot."""
        return Signature(self.scaled, self.equal)


UNIFORM = Signature((), ())  # of what is the same for all slots


def together(signatures: Iterable[Signature]) -> Signature:
    """Return the signature of a sum, or of tensors side by side."""
    given = list(signatures)
    if all(one.scaled for one in given):
        return Signature(_once(one.scaled for one in given), _once(one.equal for one in given))
    return alike(given)


def times(first: Signature, *others: Signature) -> Signature:
    """Return the signature of a product: one of the factors may be scaled."""
    given = [first, *others]
    place = next((i for i, one in enumerate(given) if one.scaled), None)
    if place is None:
        return alike(given)
    rest = alike(one for i, one in enumerate(given) if i != place)
    return Signature(given[place].scaled, _once([given[place].equal, rest.equal]))


def alike(signatures: Iterable[Signature]) -> Signature:
    """Return the signature of any function of tensors, the same for every slot."""
    return Signature((), _once(row for one in signatures for row in (one.scaled, one.equal)))


def _once(rows: Iterable[tuple[Block, ...]]) -> tuple[Block, ...]:
    return tuple({id(block): block for row in rows for block in row}.values())


def rows_of(module: GraphModule, path: str, axis: Axis, leaf: Term) -> torch.Tensor:
    """Return [slots, times, width]: what a stored tensor holds of each slot at each of its places in `axis`."""
    tensor = attribute(module, path).detach()
    places = torch.from_numpy(positions_of(axis.term, leaf)).to(tensor.device)
    rows: torch.Tensor = tensor.movedim(axis.dim, 0).reshape(axis.size, -1)[places]
    return rows


def affine_rows(weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return f64[slots, times, width + 1] of a layer's weight and bias; a missing bias is zero."""
    shift = weight.new_zeros(*weight.shape[:2], 1) if bias is None else bias
    return torch.cat([weight.double(), shift.double()], -1)


def same_term(one: Term, other: Term) -> bool:
    """Whether two axes hold the same slots in the same order."""
    return find(one) is find(other)
