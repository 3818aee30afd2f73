"""Scores of sensitivity as a table for people."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fxcompress.inspect import Ranked, Ranking
from fxcompress.quantizing.sensitivity import Score


def ranking_of(scores: Sequence[Score], kept: Collection[str] = (), remark: str = "") -> Ranking:
    """Return `scores`, the most sensitive first, with a remark on those that are `kept`."""
    return Ranking(
        "Sensitivity: the results with only this weight quantized",
        tuple(
            Ranked(score.path, score.sqnr_db, score.metric, remark if score.path in kept else "") for score in scores
        ),
    )
