"""k-means of numbers: on a line clusters are intervals, so that all comes down to sorted values and running sums.

Starts: `linear` spaces the centres evenly between the extremes, so that large weights, which are few, get centres too;
it is what Han et al. found best in Deep Compression, 2016, where training follows; `density` puts as many values to
each, `random` draws them. `optimal` has the least squared error that there is, as Wang and Song, Ckmeans.1d.dp, 2011,
find it, for up to `EXACT` different values. More of them are first taken together in as many groups of neighbours.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch

Tensor = torch.Tensor
Start = Literal["linear", "density", "random", "optimal"]
STARTS: tuple[Start, ...] = get_args(Start)

EXACT = 1024
_ROUNDS = 300


def centres_of(values: Tensor, count: int, start: Start, generator: torch.Generator | None = None) -> Tensor:
    """Return at most `count` centres of `values`, rising.

    Args:
        values: finite floats [n], n at least 1, in any order.
        generator: what `random` draws from.

    Returns:
        float64 [k]: each is the mean of the values that are nearest to it; the values themselves, where these are at
        most `count`.
    """
    ordered = values.detach().double().flatten().sort().values
    different: Tensor = ordered.unique()
    if len(different) <= count:
        return different
    if start == "optimal":
        first = _optimal(ordered, different, count)
    elif start == "linear":
        first = torch.linspace(float(ordered[0]), float(ordered[-1]), count, dtype=torch.float64)
    elif start == "density":
        places = (torch.arange(count, dtype=torch.float64) + 0.5) / count
        first = ordered[(places * len(ordered)).long()]
    else:
        first = different[torch.randperm(len(different), generator=generator)[:count]]
    return _settled(ordered, first.to(ordered.device).sort().values)


def nearest(values: Tensor, centres: Tensor) -> Tensor:
    """Return int64 of the shape of `values`: the place of the nearest of the rising `centres`; of two the lower."""
    return torch.bucketize(values.detach().double(), _borders(centres))


def _borders(centres: Tensor) -> Tensor:
    return (centres[1:] + centres[:-1]) / 2


def _settled(ordered: Tensor, centres: Tensor) -> Tensor:
    """Move each centre to the mean of the values that are nearest to it until none moves.

    A centre that has no values, as those in the gap that masking leaves around zero, goes where the error is largest:
    it takes a part of that interval.
    """
    running = torch.cat([ordered.new_zeros(1), ordered.cumsum(0)])
    count = len(centres)
    for _ in range(_ROUNDS):
        # What is split moves on anyway: here a few steps will do.
        centres, cuts = _moved(ordered, running, centres, 5)
        if len(centres) == count:
            break
        centres = _split(ordered, centres, cuts, count - len(centres))
    return _moved(ordered, running, centres, _ROUNDS)[0]


def _moved(ordered: Tensor, running: Tensor, centres: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
    """Return the centres that have values, after so many rounds or when none moves, and the ends of their intervals."""
    cuts = _cuts(ordered, centres)
    for _ in range(rounds):
        counts = cuts.diff()
        filled = counts > 0
        centres = (running[cuts].diff()[filled] / counts[filled]).unique()
        before, cuts = cuts, _cuts(ordered, centres)
        if torch.equal(cuts, before):
            break
    return centres, cuts


def _cuts(ordered: Tensor, centres: Tensor) -> Tensor:
    """Return where the interval of each centre begins in the values, and their number."""
    inner = torch.searchsorted(ordered, _borders(centres), right=True)
    return torch.cat([inner.new_zeros(1), inner, inner.new_full((1,), len(ordered))])


def _split(ordered: Tensor, centres: Tensor, cuts: Tensor, more: int) -> Tensor:
    """Return the centres with up to `more` of those with the largest errors replaced by two."""
    which = torch.repeat_interleave(torch.arange(len(centres), device=ordered.device), cuts.diff())
    errors = ordered.new_zeros(len(centres)).index_add(0, which, (ordered - centres[which]).square())
    chosen = errors.topk(min(more, len(centres))).indices
    chosen = chosen[errors[chosen] > 0]
    kept = torch.ones(len(centres), dtype=torch.bool, device=ordered.device).index_fill(0, chosen, False)
    split: Tensor = torch.cat([centres[kept], ordered[cuts[chosen]], ordered[cuts[chosen + 1] - 1]]).unique()
    return split


def _optimal(ordered: Tensor, different: Tensor, count: int) -> Tensor:
    """Return the centres of least squared error, of groups of neighbours where there are too many values."""
    groups = min(len(different), EXACT)
    if len(different) <= EXACT:
        ends = torch.searchsorted(ordered, different, right=True)
    else:
        ends = (torch.arange(1, groups + 1, device=ordered.device) * len(ordered)) // groups
    zero = ordered.new_zeros(1)
    # Squares are summed around the mean, where they are small.
    centred = ordered - ordered.mean()
    cuts = torch.cat([ends.new_zeros(1), ends])
    sums, squares = (torch.cat([zero, one.cumsum(0)])[cuts] for one in (centred, centred.square()))
    chosen = _intervals(_errors(cuts, sums, squares), count)
    return (sums[chosen].diff() / cuts[chosen].diff()) + ordered.mean()


def _errors(cuts: Tensor, sums: Tensor, squares: Tensor) -> Tensor:
    """Return [i, j]: the squared error of one centre for the groups from i up to j, without j; infinite from j <= i."""
    numbers = cuts[None, :] - cuts[:, None]
    sums_between, squares_between = sums[None, :] - sums[:, None], squares[None, :] - squares[:, None]
    errors = (squares_between - sums_between.square() / numbers.clamp(min=1)).clamp(min=0)
    return errors.masked_fill(numbers <= 0, float("inf"))


def _intervals(errors: Tensor, count: int) -> Tensor:
    """Return the `count` + 1 ends of the intervals whose errors add up to the least, by dynamic programming."""
    least, steps = errors[0], []
    for _ in range(count - 1):
        least, came_from = (least[:, None] + errors).min(0)
        steps.append(came_from)
    place = len(least) - 1
    ends = [place]
    for came_from in reversed(steps):
        place = int(came_from[place])
        ends.append(place)
    return torch.tensor([0, *reversed(ends)], device=errors.device)
