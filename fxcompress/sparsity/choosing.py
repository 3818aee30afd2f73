"""From the scores of all elements to those that are kept: by pattern, by share, and within what they are ranked.

Scores are [outputs, inputs], the least important smallest. Of equals the first goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from fxcompress.sparsity.blocks import block_means, spread
from fxcompress.sparsity.patterns import Blocks, KeepOf, Pattern

Scope = Literal["row", "local", "global"]


@dataclass(frozen=True)
class Choice:
    """How many elements go, and among which they are ranked.

    Attributes:
        pattern: what goes together.
        share: of the elements, or of the blocks, that goes; N:M says it by itself.
        scope: `row` ranks within every output, `local` within every weight, `global` over all of them.
        balanced: every block row keeps equally many blocks.
    """

    pattern: Pattern
    share: float
    scope: Scope = "local"
    balanced: bool = True


def kept(scores: Sequence[torch.Tensor], choice: Choice) -> list[torch.Tensor]:
    """Return for every weight's scores bool of their shape: what is kept."""
    if choice.scope == "global" and not isinstance(choice.pattern, KeepOf):
        return _kept_globally(scores, choice)
    return [kept_of_one(one, choice) for one in scores]


def kept_of_one(scores: torch.Tensor, choice: Choice) -> torch.Tensor:
    """Return bool of the shape of `scores`, ranked within them."""
    pattern = choice.pattern
    if isinstance(pattern, KeepOf):
        return kept_of_neighbours(scores, pattern)
    if isinstance(pattern, Blocks):
        means = _of_blocks(scores, pattern)
        gone = smallest_of_rows(means, choice.share) if choice.balanced else smallest(means, choice.share)
        return _spread(~gone, scores, pattern)
    return ~(smallest_of_rows(scores, choice.share) if choice.scope == "row" else smallest(scores, choice.share))


def _kept_globally(scores: Sequence[torch.Tensor], choice: Choice) -> list[torch.Tensor]:
    pattern = choice.pattern
    if not isinstance(pattern, Blocks):
        return [~gone for gone in smallest_together(scores, choice.share)]
    means = [_of_blocks(one, pattern) for one in scores]
    found = smallest_together(means, choice.share)
    return [_spread(~gone, one, pattern) for gone, one in zip(found, scores, strict=True)]


def _of_blocks(scores: torch.Tensor, pattern: Blocks) -> torch.Tensor:
    """Return the mean of the squares, with their signs: scores are magnitudes, and squared errors add up."""
    wide = scores if scores.dtype == torch.float64 else scores.float()
    return block_means(wide * wide.abs(), (pattern.rows, pattern.columns))


def _spread(blocks: torch.Tensor, scores: torch.Tensor, pattern: Blocks) -> torch.Tensor:
    return spread(blocks, (scores.shape[0], scores.shape[1]), (pattern.rows, pattern.columns))


def kept_of_neighbours(scores: torch.Tensor, pattern: KeepOf) -> torch.Tensor:
    """Return bool of the shape of `scores`: at most `keep` of every `of` in a row, the last of a row being fewer."""
    missing = -scores.shape[1] % pattern.of
    # What fills up the last group goes before all that is there.
    filled = torch.nn.functional.pad(_orderable(scores), (0, missing), value=-torch.inf)
    gone = smallest_few_of_rows(filled.view(-1, pattern.of), pattern.of - pattern.keep)
    return ~gone.view(filled.shape)[:, : scores.shape[1]]


def behind(scores: torch.Tensor, before: torch.Tensor, pattern: Pattern) -> torch.Tensor:
    """Return `scores` by which what is masked already goes first; in a block it counts as zero."""
    return scores.masked_fill(~before, 0 if isinstance(pattern, Blocks) else -torch.inf)


def smallest(scores: torch.Tensor, share: float) -> torch.Tensor:
    """Return a boolean tensor, true at the `round(share * n)` smallest of n values; of equals the first."""
    return smallest_few(scores, round(share * scores.numel()))


def smallest_few(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Return a boolean tensor, true at the `count` smallest values; of equals the first."""
    flat = _orderable(scores).flatten()
    if count <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    last = flat.kthvalue(count).values
    found = flat < last
    equal = (flat == last).nonzero().flatten()
    found[equal[: count - int(found.sum())]] = True
    return found.view_as(scores)


def smallest_of_rows(scores: torch.Tensor, share: float) -> torch.Tensor:
    """Return a boolean tensor, true at the `round(share * width)` smallest of every row; of equals the first."""
    return smallest_few_of_rows(scores, round(share * scores.shape[-1]))


def smallest_few_of_rows(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Return a boolean tensor, true at the `count` smallest values of every row; of equals the first."""
    order = _orderable(scores).argsort(dim=-1, stable=True)[..., : max(count, 0)]
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, order, True)


def smallest_together(scores: Sequence[torch.Tensor], share: float) -> list[torch.Tensor]:
    """Return `smallest` over the values of all tensors, cut into their shapes."""
    if not scores:
        return []
    wide = torch.float64 if any(one.dtype == torch.float64 for one in scores) else torch.float32
    together = smallest(torch.cat([one.flatten().to(wide) for one in scores]), share)
    parts = together.split([one.numel() for one in scores])
    return [part.view_as(one) for part, one in zip(parts, scores, strict=True)]


def _orderable(scores: torch.Tensor) -> torch.Tensor:
    """Return float32 or float64: neither half format can be ordered on every device; both are exact in float32."""
    return scores if scores.dtype == torch.float64 else scores.float()
