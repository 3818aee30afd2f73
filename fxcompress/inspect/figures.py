"""What a report is made of: figures of the model, of the passes and of the layers, before and after."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from fxcompress.inspect import units
from fxcompress.inspect.diff import GraphDiff
from fxcompress.inspect.ranking import Ranked, Ranking
from fxcompress.inspect.trajectory import Point


@dataclass(frozen=True)
class Measurement:
    """A figure of the model before and after.

    Attributes:
        name: what was measured, `latency`.
        unit: `count`, `bytes`, `macs`, `seconds`, `dB`, `ratio` or `score`.
        before: the figure before; None where it was not measured or says nothing.
        after: the figure after.
        spread_before, spread_after: plus or minus, in the same unit.
        note: how it was measured.
    """

    name: str
    unit: units.Unit
    before: float | None
    after: float | None
    spread_before: float | None = None
    spread_after: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """after / before; None for decibels and where there is no figure."""
        return None if self.unit == "dB" else units.ratio(self.before, self.after)


@dataclass(frozen=True)
class StepRow:
    """A pass as it ran.

    Attributes:
        text: the pass as the pipeline spells it.
        plugin: the plugin that brought it, "" for an object handed over.
        fidelity: `exact`, `close` or `lossy`.
        seconds: how long it took.
        changed: whether graph or tensors are others than before.
        largest_difference: largest absolute difference of the results of the example inputs; None where not run.
        statistics: counts that the pass kept.
        notes: what it had to say.
        diff: what it changed.
        ranking: the layers in the order of what is lost with them, where the pass measured that.
    """

    text: str
    plugin: str
    fidelity: str
    seconds: float
    changed: bool
    largest_difference: float | None = None
    statistics: Mapping[str, int | float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    diff: GraphDiff | None = None
    ranking: Ranking | None = None


@dataclass(frozen=True)
class LayerRow:
    """A layer before and after; None where a figure is not known.

    Attributes:
        scope: path of the module.
        kind: what it does, `conv2d`.
        params_before, params_after: elements of its tensors.
        bytes_before, bytes_after: size of its tensors.
        macs_before, macs_after: multiply-accumulates a run of the example inputs takes.
        sqnr_db: signal to quantization noise of its result, in decibels.
        seconds_before, seconds_after: time it takes.
    """

    scope: str
    kind: str
    params_before: int | None = None
    params_after: int | None = None
    bytes_before: int | None = None
    bytes_after: int | None = None
    macs_before: int | None = None
    macs_after: int | None = None
    sqnr_db: float | None = None
    seconds_before: float | None = None
    seconds_after: float | None = None


@dataclass(frozen=True)
class Figures:
    """What a compression did.

    Attributes:
        model: what the model is called.
        pipeline: the pipeline's text.
        measurements: figures of the whole model.
        steps: the passes in the order in which they ran.
        layers: the layers in the order of the graph.
        trajectory: the original, and where the model stands after each pass; empty where nobody asked.
        notes: what the user should know.
        diff: the model before and after the whole pipeline.
        environment: versions and device, by name.
    """

    model: str
    pipeline: str
    measurements: tuple[Measurement, ...] = ()
    steps: tuple[StepRow, ...] = ()
    layers: tuple[LayerRow, ...] = ()
    trajectory: tuple[Point, ...] = ()
    notes: tuple[str, ...] = ()
    diff: GraphDiff | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def worst_layers(self) -> Ranking:
        """The layers whose results differ from those before, the one that lost most first."""
        found = [
            Ranked(layer.scope, layer.sqnr_db)
            for layer in self.layers
            if layer.sqnr_db is not None and layer.sqnr_db != math.inf
        ]
        return Ranking("Layers that lose most", tuple(sorted(found, key=lambda row: row.sqnr_db)))
