"""Observers: which range of values a scale should hold, gathered batch by batch, and mergeable."""

from __future__ import annotations

from collections.abc import Callable

from fxcompress.calibration.clipping import Entropy as Entropy
from fxcompress.calibration.clipping import MeanSquaredError as MeanSquaredError
from fxcompress.calibration.clipping import Percentile as Percentile
from fxcompress.calibration.extremes import MinMax as MinMax
from fxcompress.calibration.extremes import MovingAverage as MovingAverage
from fxcompress.calibration.means import Mean as Mean
from fxcompress.calibration.observation import Observation as Observation
from fxcompress.calibration.observation import observed as observed
from fxcompress.calibration.observer import Observer as Observer
from fxcompress.calibration.run import calibrate as calibrate

OBSERVERS: dict[str, Callable[[], Observer]] = {
    "minmax": MinMax,
    "moving-average": MovingAverage,
    "percentile": Percentile,
    "mse": MeanSquaredError,
    "entropy": Entropy,
}
