"""Timing models side by side, in turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from fxcompress.analysis.measure import paired_latency
from fxcompress.capturing import Captured, Inputs, as_inputs
from fxcompress.errors import InputError
from fxcompress.reporting import device_of, half_range
from fxcompress.targets import Artifact

if TYPE_CHECKING:
    from fxcompress.models import NamedModel


@dataclass(frozen=True)
class Timing:
    """How long one call of a model takes: seconds, and how many times faster it is than the first."""

    name: str
    median: float
    spread: float
    ratio: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def time_models(models: Sequence[NamedModel], seconds: float) -> list[Timing]:
    """Time one call of each model, in turns, for `seconds` together; the first is the baseline of the ratios.

    Raises:
        InputError: neither a model nor the first one has example inputs.
    """
    first = inputs_of(models[0])
    calls = {}
    device = torch.device("cpu")
    for index, named in enumerate(models):
        inputs = inputs_of(named) or first
        if inputs is None:
            raise InputError(f"{named.name} has no example inputs", hint="name a factory first, it brings inputs")
        module = named.model.module if isinstance(named.model, Captured | Artifact) else named.model
        device = device_of(inputs)
        calls[f"{index} {named.name}"] = lambda inputs=inputs, module=module: inputs.call(module)
    with torch.no_grad():
        found = paired_latency(calls, budget_seconds=seconds, rounds=1000, device=device)
    baseline = next(iter(found.values())).median
    return [
        Timing(named.name, latency.median, half_range(latency), baseline / latency.median)
        for named, latency in zip(models, found.values(), strict=True)
    ]


def inputs_of(named: NamedModel) -> Inputs | None:
    """Return the inputs that a model brings, None where it brings none."""
    if named.inputs is not None:
        return as_inputs(named.inputs)
    return named.model.inputs if isinstance(named.model, Captured | Artifact) else None
