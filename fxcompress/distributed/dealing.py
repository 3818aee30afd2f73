"""Dealing items to ranks: consecutive ones, so that what is gathered of them merges in their order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from fxcompress.capturing import Inputs
from fxcompress.distributed.agreement import alike, sketch
from fxcompress.distributed.ranks import is_shared, rank, world
from fxcompress.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Share(Generic[T]):
    """The items of one rank.

    Attributes:
        items: in their order; none where there are fewer than ranks.
        first: the number of the first one among all.
        count: how many all ranks have.
    """

    items: tuple[T, ...]
    first: int
    count: int

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def numbered(self) -> Iterator[tuple[int, T]]:
        """Yield every item with its number among all."""
        return enumerate(self.items, self.first)

    def of(self, row: list[T]) -> list[T]:
        """Return what stands in `row`, which is of all items, in the places of ours."""
        return row[self.first : self.first + len(self.items)]


def deal(items: Iterable[T]) -> Share[T]:
    """Return those of `items` that are this rank's: the first ones are rank 0's, and so on; all where it is alone.

    Every rank must be given the same ones; of tensors and inputs that is checked, by some of their values.

    Raises:
        InputError: they are others on another rank.
    """
    row = tuple(items)
    if not is_shared():
        return Share(row, 0, len(row))
    alike({f"batch {number}": _told(item) for number, item in enumerate(row)}, _others)
    first, end = (len(row) * place // world() for place in (rank(), rank() + 1))
    return Share(row[first:end], first, len(row))


def dealt(items: Iterable[T]) -> Iterator[tuple[int, T]]:
    """Return those of `items` that `deal` gives this rank, with their numbers; read one by one where it is alone."""
    return deal(items).numbered() if is_shared() else enumerate(items)


def _told(item: object) -> str:
    return sketch((item.args, item.kwargs) if isinstance(item, Inputs) else item)


def _others(name: str, place: int) -> InputError:
    return InputError(
        f"{name} of the calibration data is another one on rank {place} than on rank 0",
        hint="give every rank all batches in the same order: no DistributedSampler, and a seed where they are shuffled",
    )
