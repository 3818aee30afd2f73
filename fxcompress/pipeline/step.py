"""One step of a run, as instruments see it while it happens, and what is kept of it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch.fx import GraphModule

from fxcompress.contract import Pass, PassContext
from fxcompress.errors import VerificationFailed
from fxcompress.graph.module import CapturedModule
from fxcompress.inspect import GraphDiff, Standing


@dataclass(frozen=True)
class Stage:
    """What is kept of a step.

    Attributes:
        text: the pass as a pipeline spells it.
        plugin: the plugin that registered it, None for a pass handed over as an object.
        fidelity: what the pass promised: exact, close or lossy.
        changed: whether graph or tensors are others than before.
        seconds: time in the pass itself, without the instruments.
        statistics: the numbers that the pass counted.
        details: what the pass left for programs to read.
        notes: what the pass left for people to read.
        diff: what changed in the graph; None where diffs are switched off.
        largest_difference: largest absolute difference of the example results before and after; None if not run.
        measurements: what other instruments measured, by name.
        standings: how good the model was before and after; None where nobody asked.
    """

    text: str
    plugin: str | None
    fidelity: str
    changed: bool
    seconds: float
    statistics: dict[str, float]
    details: dict[str, Any]
    notes: tuple[str, ...]
    diff: GraphDiff | None
    largest_difference: float | None
    measurements: dict[str, float]
    standings: tuple[Standing, Standing] | None = None


@dataclass
class Step:
    """A step that is under way. `module` is the input before the pass has run, and its result after."""

    index: int
    running: Pass
    plugin: str | None
    module: CapturedModule
    context: PassContext
    digests: dict[str, str] | None = None
    changed: bool = True
    seconds: float = 0.0
    diff: GraphDiff | None = None
    largest_difference: float | None = None
    measurements: dict[str, float] = field(default_factory=dict)
    standings: tuple[Standing, Standing] | None = None

    @property
    def text(self) -> str:
        return str(self.running)

    def stage(self) -> Stage:
        """Return what is kept of this step."""
        return Stage(
            text=self.text,
            plugin=self.plugin,
            fidelity=self.running.fidelity,
            changed=self.changed,
            seconds=self.seconds,
            statistics=dict(self.context.statistics),
            details=dict(self.context.details),
            notes=tuple(self.context.notes),
            diff=self.diff,
            largest_difference=self.largest_difference,
            measurements=dict(self.measurements),
            standings=self.standings,
        )


class Instrument(Protocol):
    """Something that stands around every step: entered before the pass runs, left after it.

    One with a true attribute `verified` is left when the module is verified, and `step.changed` is known.
    """

    def around(self, step: Step) -> AbstractContextManager[None]: ...


def as_captured(result: object) -> CapturedModule:
    """Return what a pass returned as the module to go on with, compiled anew.

    Raises:
        VerificationFailed: the pass returned no graph module.
    """
    if not isinstance(result, GraphModule):
        raise VerificationFailed(
            f"it returned {type(result).__name__}, not a GraphModule", hint="end apply with  return module"
        )
    if not isinstance(result, CapturedModule):
        return CapturedModule(result, result.graph)
    result.recompile()
    return result
