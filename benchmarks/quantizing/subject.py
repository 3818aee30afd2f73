"""What a network that is quantized for quality brings along."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

Model = Callable[..., Any]


@dataclass(frozen=True)
class Subject:
    """A trained network with its data.

    Attributes:
        name: what the tables call it.
        network: what `fxc.compress` takes.
        inputs: keyword arguments of a batch that is neither calibrated on nor part of a metric: for SQNR.
        calibration: batches without labels, none of which a metric is computed on.
        metrics: by name, a function of the module that gives the metric times 100; higher is better.
        output: what of the results the SQNR is taken of.
    """

    name: str
    network: Any
    inputs: Mapping[str, torch.Tensor]
    calibration: list[Any]
    metrics: Mapping[str, Callable[[Model], float]]
    output: Callable[[Any], torch.Tensor]


def sqnr(want: torch.Tensor, got: torch.Tensor) -> float:
    """Return the signal to noise ratio of `got` in dB."""
    noise = (want.double() - got.double()).norm()
    return float(20 * torch.log10(want.double().norm() / noise.clamp_min(1e-300)))
