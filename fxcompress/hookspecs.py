"""The hooks through which plugins, the built-in ones too, tell fxcompress what they bring.

Every hook has one shape: it is called once, with a function `register` that it calls for each thing it brings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from fxcompress.analysis.axes import RegisterAxisRule
    from fxcompress.contract import Kernel, Pass, Target
    from fxcompress.pipeline.step import Step
    from fxcompress.pruning.choosing.importance import RegisterImportance

    Instrument = Callable[[Step], AbstractContextManager[None]]

PROJECT = "fxcompress"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_passes(register: Callable[[type[Pass]], None]) -> None:
    """Register pass classes: `register(MyPass)`."""


@hookspec
def register_pipelines(register: Callable[[str, str], None]) -> None:
    """Register named pipelines: `register("name", "fold-bn,mask{sparsity=0.5}")`."""


@hookspec
def register_instruments(register: Callable[[str, Callable[[], Instrument]], None]) -> None:
    """Register instruments by name: `register("memory", PeakMemory)`.

    An instrument is made once a run; `instrument.around(step)` is a context manager that is entered before and left
    after every step. It runs where a run names it.
    """


@hookspec
def register_axis_rules(register: RegisterAxisRule) -> None:
    """Register what operators do to axes: `register(torch.ops.mine.scan, scan, zeros=KEEP)`.

    The rule is a function of an `Op`, which states links between the axes of one call. It goes before a built-in one.
    """


@hookspec
def register_importances(register: RegisterImportance) -> None:
    """Register what `prune` ranks by: `register("median-distance", median_distance, needs="activations")`.

    The function takes the `Evidence` for one group and returns a number for each of its slots, the least important
    the smallest.
    """


@hookspec
def register_targets(register: Callable[[type[Target]], None]) -> None:
    """Register target classes, kinds of files to write: `register(MyTarget)`.

    A target is chosen by its name or by the suffix of the path that is written to.
    """


@hookspec
def register_kernels(register: Callable[[Kernel], None]) -> None:
    """Register kernels for linears on a GPU: `register(fxc.Kernel("sparse-24", refuses, cost, build))`.

    `lower{device=cuda}` asks each which linears it takes and how long they would take, and lets the fastest build.
    """
