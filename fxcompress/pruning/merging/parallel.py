"""Which rows are positive multiples of each other, found in blocks so that thousands of rows fit in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

_BLOCK = 512
# A cosine of 1 is met up to rounding: an angle of about a millionth.
_ROUNDING = 1e-12
# How far a cosine computed in float32 may be off.
_COARSE = 1e-5


@dataclass(frozen=True)
class Parallel:
    """Slots that may be merged.

    Attributes:
        pairs: (kept slot, removed slot, scale), removed = scale * kept; a slot is removed once, and never kept then.
        nearest: the largest cosine between two slots, None where there is none.
    """

    pairs: tuple[tuple[int, int, float], ...]
    nearest: float | None


def parallel_slots(scaled: Sequence[torch.Tensor], equal: Sequence[torch.Tensor], similarity: float) -> Parallel:
    """Cluster slots greedily: the first of each cluster stays, those like it that come after it go.

    Two slots are alike where the cosine of their scaled rows is at least `similarity`, and where every two of their
    equal rows differ by no more than rows of one length at that cosine do. Quadratic in the slots, with matrices of
    512 rows at a time; rows of zeros are like nothing.

    Args:
        scaled: f64[slots, elements] each: multiples of each other by one factor.
        equal: f64[slots, elements] each: the same in both slots.
    """
    rows = _together(scaled or equal)
    lengths = rows.norm(dim=1)
    directions = rows / lengths.clamp_min(torch.finfo(rows.dtype).tiny)[:, None]
    search = _Search(rows, directions, list(equal), similarity, bool(scaled))
    search.alive = (lengths > 0) & lengths.isfinite()
    for start in range(0, len(rows), _BLOCK):
        search.block(start, min(start + _BLOCK, len(rows)))
    return Parallel(tuple(search.pairs), search.nearest)


def _together(blocks: Sequence[torch.Tensor]) -> torch.Tensor:
    """Put blocks side by side, each at a mean length of 1, so that none counts for more by its unit."""
    wide = [block.double() for block in blocks]
    lengths = [block.norm(dim=1).mean() for block in wide]
    return torch.cat([b / n if n.isfinite() and n > 0 else b for b, n in zip(wide, lengths, strict=True)], 1)


class _Search:
    """The greedy clustering under way; slots that are `alive` may still be kept or removed."""

    def __init__(
        self,
        rows: torch.Tensor,
        directions: torch.Tensor,
        equal: Sequence[torch.Tensor],
        similarity: float,
        scaled: bool,
    ) -> None:
        self.rows, self.directions, self.coarse = rows, directions, directions.float()
        self.equal, self.scaled = equal, scaled
        self.least = min(similarity, 1 - _ROUNDING)
        self.alive = torch.ones(len(rows), dtype=torch.bool)
        self.pairs: list[tuple[int, int, float]] = []
        self.nearest: float | None = None

    def block(self, start: int, stop: int) -> None:
        """Let the slots from `start` to `stop` take those like them that come after."""
        if not bool(self.alive[start:stop].any()):
            return
        cosines = self.coarse[start:stop] @ self.coarse[start:].T
        cosines.masked_fill_(torch.ones_like(cosines, dtype=torch.bool).tril(), -1)
        cosines.masked_fill_(~(self.alive[start:stop, None] & self.alive[None, start:]), -1)
        largest = float(cosines.max())
        if largest > -1:
            self.nearest = max(largest, -1.0 if self.nearest is None else self.nearest)
        near = cosines >= self.least - _COARSE
        for row in near.any(1).nonzero().flatten().tolist():
            if self.alive[start + row]:
                self._take(start + row, near[row].nonzero().flatten() + start)

    def _take(self, kept: int, others: torch.Tensor) -> None:
        others = others[self.alive[others]]
        others = others[self._alike(kept, others)]
        own = self.rows[kept]
        scales = (self.rows[others] * own).sum(1) / own.square().sum() if self.scaled else torch.ones(len(others))
        self.alive[others] = False
        self.pairs += [(kept, j, s) for j, s in zip(others.tolist(), scales.tolist(), strict=True)]

    def _alike(self, kept: int, others: torch.Tensor) -> torch.Tensor:
        alike = self.directions[others] @ self.directions[kept] >= self.least
        for block in self.equal:
            own, rest = block[kept], block[others]
            allowed = 2 * (1 - self.least) * own.norm() * rest.norm(dim=1)
            alike &= (rest - own).square().sum(1) <= allowed
        return alike
