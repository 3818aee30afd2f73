"""Values of any kind from one process to the others, and evidence that merges."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, Self, TypeVar

import torch

from fxcompress.distributed.links import sent, stacked
from fxcompress.distributed.ranks import is_first, is_shared, rank

T = TypeVar("T")


class Merges(Protocol):
    """What was gathered of some batches; `merge` takes over what another one gathered of those that came next."""

    def merge(self, other: Self) -> None: ...


M = TypeVar("M", bound=Merges)


def each_rank(value: T) -> Iterator[T]:
    """Yield `value` of every rank, in their order; each comes when it is asked for. All of them must be asked for.

    Where the work is not shared, that is `value` itself. Its tensors come to the device of their kind that is current.
    """
    if not is_shared():
        yield value
        return
    own = _packed(value)
    for source, size in enumerate(stacked(torch.tensor([len(own)])).flatten().tolist()):
        content = own if source == rank() else torch.empty(size, dtype=torch.uint8)
        yield _unpacked(sent(content, source))


def gathered(value: T) -> list[T]:
    """Return `value` of every rank, in their order."""
    return list(each_rank(value))


def of_first(value: T | None) -> T:
    """Return `value` of the first rank; that of the others does not count."""
    if not is_shared():
        return value  # type: ignore[return-value]
    content = _packed(value) if is_first() else torch.empty(0, dtype=torch.uint8)
    size = int(sent(torch.tensor([len(content)]), 0))
    return _unpacked(sent(content if is_first() else torch.empty(size, dtype=torch.uint8), 0))  # type: ignore[no-any-return]


def merged(evidence: M) -> M:
    """Return what all ranks gathered, merged in their order: the same on each of them."""
    (found,) = merged_row([evidence])
    return found


def merged_row(evidence: Sequence[M]) -> list[M]:
    """Return each of `evidence`, of which every rank has as many, as `merged` does."""
    found: list[M] = []
    for row in each_rank(list(evidence)):
        if not found:
            found = row
        else:
            for one, other in zip(found, row, strict=True):
                one.merge(other)
    return found


def all_of(row: Sequence[T]) -> list[T]:
    """Return the items of all ranks, those of the first one first."""
    return [item for part in each_rank(list(row)) for item in part]


def totals(numbers: Sequence[float]) -> list[float]:
    """Return the sum of each number over the ranks, in their order."""
    return [sum(column) for column in zip(*each_rank(list(numbers)), strict=True)]


def _packed(value: Any) -> torch.Tensor:
    file = io.BytesIO()
    torch.save(value, file)
    return torch.frombuffer(bytearray(file.getbuffer()), dtype=torch.uint8)


def _unpacked(content: torch.Tensor) -> Any:
    # Objects, and not only tensors: they come from processes of the same run, which run the same code as this one.
    return torch.load(io.BytesIO(content.numpy().tobytes()), map_location=_here, weights_only=False)


def _here(storage: Any, location: str) -> Any:
    return storage if location == "cpu" else storage.cuda()
