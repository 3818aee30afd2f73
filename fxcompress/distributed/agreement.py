"""Ranks that agree: the same errors, the same data, the same module."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch.utils import _pytree as pytree

from fxcompress.distributed.exchange import gathered, of_first
from fxcompress.distributed.ranks import is_first, is_shared
from fxcompress.errors import FxcompressError

T = TypeVar("T")

# Values of a tensor that tell it from another one.
_LOOKED_AT = 64


@contextmanager
def together() -> Iterator[None]:
    """Let an error from within, of any rank, be raised on all of them; the lowest rank's where several have one.

    Nothing within may wait for the other ranks.
    """
    if not is_shared():
        yield
        return
    found: FxcompressError | None = None
    try:
        yield
    except FxcompressError as error:
        found = error
    own = None if found is None else (type(found), found.message, found.hint)
    told = next((one for one in gathered(own) if one is not None), None)
    if found is not None and told == own:
        raise found
    if told is not None:
        kind, message, hint = told
        raise kind(message, hint=hint) from found


def from_first(make: Callable[[], T]) -> T:
    """Return what `make` gives, or raise what it raises, on the first rank; on the others it is not called."""
    found: T | None = None
    with together():
        if is_first():
            found = make()
    return of_first(found)


def alike(values: Mapping[str, str], error: Callable[[str, int], FxcompressError]) -> None:
    """Compare texts over all ranks.

    Args:
        values: by the names of what they tell of.
        error: makes what is raised, from the first name whose text differs and the first rank where it does.
    """
    if not is_shared():
        return
    first, *others = gathered(dict(values))
    for place, other in enumerate(others, 1):
        for name in (*first, *other):
            if first.get(name) != other.get(name):
                raise error(name, place)


def sketch(value: Any) -> str:
    """Return a digest of the structure of `value`, and of the types and some evenly spaced values of its tensors."""
    leaves, spec = pytree.tree_flatten(value)
    digest = hashlib.sha256(str(spec).encode())
    for leaf in leaves:
        digest.update(_looked_at(leaf) if isinstance(leaf, torch.Tensor) else _plain(leaf))
    return digest.hexdigest()


def _plain(leaf: object) -> bytes:
    # What another object prints as may hold its address.
    simple = leaf is None or isinstance(leaf, bool | int | float | str)
    return (repr(leaf) if simple else type(leaf).__qualname__).encode()


def _looked_at(tensor: torch.Tensor) -> bytes:
    step = max(1, tensor.numel() // _LOOKED_AT)
    return f"{tensor.dtype}{tuple(tensor.shape)}{tensor.detach().reshape(-1)[::step].tolist()}".encode()
