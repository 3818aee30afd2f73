"""What is made of weights for a backend, kept beside them as long as they live, and outside of every state.

Packed weights of oneDNN can neither be copied nor saved. So they are made at the first call, found by the identity of
the tensors they were made of, and made anew where one of these was written into or replaced.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch.utils.weak import WeakIdKeyDictionary

T = TypeVar("T")
Tensors = Sequence[torch.Tensor | None]


@dataclass(frozen=True)
class _Entry:
    """What was made, and of which tensors in which version."""

    sources: tuple[weakref.ref[torch.Tensor] | None, ...]
    versions: tuple[tuple[int, int] | None, ...]
    made: Any

    def holds_for(self, tensors: Tensors) -> bool:
        if len(tensors) != len(self.sources):
            return False
        for tensor, source, version in zip(tensors, self.sources, self.versions, strict=True):
            if (tensor is None) != (source is None):
                return False
            if tensor is not None and source is not None and (source() is not tensor or version_of(tensor) != version):
                return False
        return True


# The tensors are compared by identity and held weakly: an entry goes when the first of its tensors does.
_made: Any = WeakIdKeyDictionary()


def packed(purpose: str, tensors: Tensors, make: Callable[[], T]) -> T:
    """Return what `make` gives for `tensors`, made once for each `purpose`.

    Args:
        purpose: tells apart what is made of the same tensors.
        tensors: everything that `make` reads; the first is no None.
    """
    first = tensors[0]
    by_purpose = _made.get(first)
    if by_purpose is None:
        by_purpose = _made[first] = {}
    found: _Entry | None = by_purpose.get(purpose)
    if found is None or not found.holds_for(tensors):
        found = _entry(tensors, make())
        by_purpose[purpose] = found
    made: T = found.made
    return made


def _entry(tensors: Tensors, made: Any) -> _Entry:
    sources = tuple(None if tensor is None else weakref.ref(tensor) for tensor in tensors)
    return _Entry(sources, tuple(None if tensor is None else version_of(tensor) for tensor in tensors), made)


def version_of(tensor: torch.Tensor) -> tuple[int, int]:
    """Return what changes when the tensor is written into: its counter of writes, and where its data lies."""
    return (0 if tensor.is_inference() else tensor._version, tensor.data_ptr())
