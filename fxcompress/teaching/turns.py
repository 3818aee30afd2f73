"""Several processes answer in turns: each calculates some of the batches, and all see all of the answers in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from fxcompress.capturing import Inputs
from fxcompress.distributed import alike, gathered, is_shared, rank, sketch, together, world
from fxcompress.errors import InputError

T = TypeVar("T")


def in_turns(batches: Iterable[Inputs], sharded: bool, answer: Callable[[Inputs], T]) -> Iterator[list[T]]:
    """Yield what `answer` gives for the batches, some of them at a time, in their order, the same on every rank.

    Args:
        sharded: whether each rank has batches of its own; then the first ones of all ranks come first.
        answer: may not wait for other ranks.

    Raises:
        InputError: a rank has other batches than the first, though they are not sharded.
    """
    if not is_shared():
        yield from ([answer(batch)] for batch in batches)
        return
    for own in _own(batches) if sharded else _dealt(batches):
        with together():
            piece = None if own is None else answer(own)
        yield [one for one in gathered(piece) if one is not None]


def _own(batches: Iterable[Inputs]) -> Iterator[Inputs | None]:
    """Yield this rank's batches, and None from then on until no rank has any left."""
    waiting = iter(batches)
    while True:
        own = next(waiting, None)
        if not any(gathered(own is not None)):
            return
        yield own


def _dealt(batches: Iterable[Inputs]) -> Iterator[Inputs | None]:
    """Yield every batch whose turn is this rank's, None where the last round has none for it."""
    waiting, number = iter(batches), 0
    while row := list(islice(waiting, world())):
        alike({f"round {number}": sketch([(one.args, one.kwargs) for one in row])}, _others)
        yield row[rank()] if rank() < len(row) else None
        number += 1


def _others(name: str, place: int) -> InputError:
    return InputError(
        f"{name} of the batches holds others on rank {place} than on rank 0",
        hint="give every rank all batches in the same order, or a DistributedSampler to each",
    )
