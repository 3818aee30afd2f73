"""What is made of weights for a backend, kept beside them as long as they live, and outside of every state.

Packed weights of oneDNN can neither be copied nor saved. So they are made at the first call, found by the identity of
the tensors they were made of, and made anew where one of these was written into or replaced.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

T = TypeVar("T")
Tensors = Sequence[torch.Tensor | None]


class _Source:
    """One tensor that something was made of, held weakly, with what changes when it is written into."""

    __slots__ = ("data", "reference", "version")

    def __init__(self, tensor: torch.Tensor) -> None:
        self.reference = weakref.ref(tensor)
        self.data = tensor.data_ptr()
        # Tensors of inference mode count no writes.
        self.version = None if tensor.is_inference() else tensor._version

    def is_still(self, tensor: torch.Tensor | None) -> bool:
        """Whether it is the very `tensor`, with the content that it had."""
        if tensor is None or self.reference() is not tensor or tensor.data_ptr() != self.data:
            return False
        return self.version is None or tensor._version == self.version


class _Entry:
    """What was made, and of which tensors."""

    __slots__ = ("made", "sources")

    def __init__(self, tensors: Tensors, made: Any) -> None:
        self.sources = [None if tensor is None else _Source(tensor) for tensor in tensors]
        self.made = made

    def holds_for(self, tensors: Tensors) -> bool:
        if len(tensors) != len(self.sources):
            return False
        for tensor, source in zip(tensors, self.sources, strict=True):
            if (tensor is not None) if source is None else not source.is_still(tensor):
                return False
        return True


# By the identity of the first tensor, with a weak reference that takes the row away when that tensor goes. A
# `WeakIdKeyDictionary` would do the same and take four times as long, at every call of every layer.
_made: dict[int, tuple[weakref.ref[torch.Tensor], dict[str, _Entry]]] = {}


def packed(purpose: str, tensors: Tensors, make: Callable[[], T]) -> T:
    """Return what `make` gives for `tensors`, made once for each `purpose`.

    Args:
        purpose: tells apart what is made of the same tensors.
        tensors: everything that `make` reads; the first is no None.
    """
    first = tensors[0]
    assert first is not None
    row = _made.get(id(first))
    if row is None or row[0]() is not first:
        row = _made[id(first)] = (_reference(first), {})
    found = row[1].get(purpose)
    if found is None or not found.holds_for(tensors):
        found = row[1][purpose] = _Entry(tensors, make())
    made: T = found.made
    return made


def _reference(tensor: torch.Tensor) -> weakref.ref[torch.Tensor]:
    place = id(tensor)

    def forget(gone: weakref.ref[torch.Tensor]) -> None:
        # Another tensor may have taken the place meanwhile.
        if place in _made and _made[place][0] is gone:
            del _made[place]

    return weakref.ref(tensor, forget)
