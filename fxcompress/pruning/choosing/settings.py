"""What a pruning step is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from fxcompress.errors import PassFailed
from fxcompress.pruning.choosing.budget import Limits


@dataclass(frozen=True)
class Settings:
    """The options of `prune` that one step needs; see there.

    Attributes:
        originals: sizes of groups, by name, before the first of several steps; shares are of these.
        original_cost: multiply-accumulates or parameters before the first step, None where this is the first.
    """

    ratio: float
    macs: float | None
    params: float | None
    threshold: float | None
    importance: str
    scope: str
    ratios: tuple[str, ...]
    round_to: int
    min_channels: int
    targets: tuple[str, ...]
    ignore: tuple[str, ...]
    exact: bool
    factor: int
    batches: int
    masked: bool
    originals: Mapping[str, int] = field(default_factory=dict)
    original_cost: float | None = None

    @classmethod
    def of(cls, options: Any) -> Settings:
        """Return the settings that the options of a pass say.

        Raises:
            PassFailed: two of them say how much to remove.
        """
        own = {"originals", "original_cost"}
        made = cls(**{one.name: getattr(options, one.name) for one in fields(cls) if one.name not in own})
        given = [name for name in ("macs", "params", "threshold") if getattr(made, name) is not None]
        if made.masked and (given or made.ratios):
            raise PassFailed(
                f"masked=true removes what is masked, and {(*given, 'ratios')[0]} says how much too",
                hint="give one of them",
            )
        if len(given) > 1:
            raise PassFailed(f"{' and '.join(given)} both say how much is removed", hint="give one of them")
        return made

    @property
    def limits(self) -> Limits:
        return Limits(self.round_to, self.min_channels)

    @property
    def criterion(self) -> str:
        """The importance to use: a threshold is one of mean activations, unless another importance is named."""
        return "activation" if self.threshold is not None and self.importance == "group-norm" else self.importance
