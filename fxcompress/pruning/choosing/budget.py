"""How many slots of each group stay: by a share of each, by a ranking over all, or until a budget is met."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import floor, prod

import numpy as np
from numpy.typing import NDArray

from fxcompress.analysis.axes.apart import Outer
from fxcompress.analysis.axes.groups import Group, Kept, Left
from fxcompress.analysis.axes.terms import factors

Scores = NDArray[np.float64]
LOCAL, GLOBAL, ISOMORPHIC = "local", "global", "isomorphic"
_HALVINGS = 24


@dataclass(frozen=True)
class Ranked:
    """One group with the scores of its slots.

    Attributes:
        scores: [places, slots], the least important smallest.
        ratio: the share to remove where it is fixed for this group, None where the pass's option says it.
        family: groups of one family are alike, so that their scores compare.
        original: slots of the group before the first of several steps: shares are of these.
        outer: what stands before the slots, of which each place loses slots of its own; nothing where all lose the
            same ones, and there is one place.
    """

    group: Group
    scores: Scores
    ratio: float | None
    family: str
    original: int
    outer: Outer = ()

    def beyond(self, share: float) -> float:
        """Return how many slots are still to go where `share` of the original ones goes."""
        return max(0.0, self.group.size - self.original * (1 - share))


@dataclass(frozen=True)
class Limits:
    """What may be left of a group: multiples of `round_to` where it is large enough, `least` at least."""

    round_to: int = 1
    least: int = 1

    def count(self, group: Group, wanted: float) -> int:
        """Return the number of slots nearest to `wanted` that may be left."""
        step = self.step(group)
        rounded = floor(wanted / step + 0.5) * step
        return int(min(group.size, max(rounded, step, self.least)))

    def step(self, group: Group) -> int:
        """Return of how many slots the rest is a multiple: so many that the narrowest axis is one of `round_to`."""
        widths = [prod(one.size for one in factors(carrier.axis.term)) for carrier in group.carriers]
        inner = min(widths) // group.size if min(widths) % group.size == 0 else 1
        step = self.round_to // np.gcd(self.round_to, inner)
        return int(step) if group.size >= 2 * step else 1


def by_ratio(ranked: Sequence[Ranked], share: float, scope: str, limits: Limits) -> dict[str, int]:
    """Return how many slots of each group, by its name, stay where `share` of all slots goes.

    Args:
        scope: "local" takes the share of each group; "global" and "isomorphic" take the lowest of all scores, which
            are first divided by their mean in the group, or in all groups of one family.
    """
    removed = _removed(ranked, share, scope)
    counts = {}
    for one, gone in zip(ranked, removed, strict=True):
        gone = gone if one.ratio is None else one.beyond(one.ratio)
        counts[one.group.name] = limits.count(one.group, one.group.size - gone)
    return counts


def _removed(ranked: Sequence[Ranked], share: float, scope: str) -> list[float]:
    if scope == LOCAL or not ranked:
        return [one.beyond(share) for one in ranked]
    scores = _comparable(ranked, scope)
    together = np.sort(np.concatenate([rows.reshape(-1) for rows in scores]))
    whole = sum(one.original * len(one.scores) for one in ranked)
    place = max(0, round(share * whole - (whole - len(together))))
    if place == 0:
        return [0.0] * len(ranked)
    return [float((rows <= together[place - 1]).sum()) / len(rows) for rows in scores]


def _comparable(ranked: Sequence[Ranked], scope: str) -> list[Scores]:
    """Return the scores of every group divided by their mean, in the group or in its family."""
    sums: dict[str, list[float]] = {}
    keys = [one.family if scope == ISOMORPHIC else one.group.name for one in ranked]
    for key, one in zip(keys, ranked, strict=True):
        row = sums.setdefault(key, [0.0, 0.0])
        row[0] += float(one.scores.sum())
        row[1] += one.scores.size
    return [one.scores / max(sums[key][0] / sums[key][1], 1e-300) for key, one in zip(keys, ranked, strict=True)]


def to_budget(
    ranked: Sequence[Ranked], scope: str, limits: Limits, cost: Callable[[Left], float], budget: float
) -> dict[str, int] | None:
    """Return the counts of the smallest share whose cost is within `budget`; None where no share is."""
    low, high = 0.0, 1.0
    best = by_ratio(ranked, high, scope, limits)
    if cost(left_of(ranked, best)) > budget:
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        counts = by_ratio(ranked, middle, scope, limits)
        if cost(left_of(ranked, counts)) > budget:
            low = middle
        else:
            high, best = middle, counts
    return best


def left_of(ranked: Sequence[Ranked], counts: Mapping[str, int]) -> Left:
    """Return what is left of sizes where so many slots of each group stay, whichever these are."""
    found: dict[int, int] = {}
    for one in ranked:
        mask = np.arange(one.group.size) < counts[one.group.name]
        found |= {leaf: int(part.sum()) for leaf, part in one.group.in_leaves(mask).items()}
    return Left(found)


def below(ranked: Sequence[Ranked], threshold: float, limits: Limits) -> dict[str, int]:
    """Return how many slots of each group stay where all whose score is below `threshold` go.

    Where places lose slots of their own, as many stay as in that which keeps most.
    """
    kept = {one.group.name: int((one.scores >= threshold).sum(1).max()) for one in ranked}
    return {one.group.name: min(one.group.size, max(limits.least, kept[one.group.name])) for one in ranked}


def keep_best(ranked: Sequence[Ranked], counts: Mapping[str, int]) -> dict[str, NDArray[np.bool_]]:
    """Return for every group that loses slots which stay: those of the highest scores, of equal ones the first.

    Returns:
        by the name of the group [places, slots].
    """
    masks = {}
    for one in ranked:
        count = counts[one.group.name]
        if count < one.group.size:
            mask = np.zeros(one.scores.shape, bool)
            best = np.argsort(-one.scores, axis=1, kind="stable")[:, :count]
            np.put_along_axis(mask, best, values=True, axis=1)
            masks[one.group.name] = mask
    return masks


def kept_of(ranked: Sequence[Ranked], masks: Mapping[str, NDArray[np.bool_]]) -> Kept:
    """Return what `keep_best` leaves of the leaves of groups."""
    found: dict[int, NDArray[np.bool_]] = {}
    outer: dict[int, Outer] = {}
    for one in ranked:
        mask = masks.get(one.group.name)
        if mask is not None and one.outer:
            found[id(one.group.leaf)], outer[id(one.group.leaf)] = mask, one.outer
        elif mask is not None:
            found |= one.group.in_leaves(mask[0])
    return Kept(found, outer)
