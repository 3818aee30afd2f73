"""`fxcompress.compress`: capture, run a pipeline, and hand back the module with everything that was seen on the way."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from fxcompress.capturing import Captured, Inputs, capture
from fxcompress.contract import Emitted, Pass, Resources, Target, TrainingData
from fxcompress.distributed import alone, is_first, is_shared
from fxcompress.errors import InputError
from fxcompress.graph.module import CapturedModule
from fxcompress.inspect import Report
from fxcompress.pipeline import Pipeline
from fxcompress.pipeline.instruments import Diffs, Fingerprints, Progress, Reproducer, Snapshots, Statistics, Timing
from fxcompress.pipeline.ranks import SameOnAllRanks, check_start
from fxcompress.pipeline.run import run
from fxcompress.pipeline.step import Instrument, Stage
from fxcompress.pipeline.verify import Verify
from fxcompress.plugins import Plugins
from fxcompress.pruning.removing.places import Plan
from fxcompress.pruning.removing.plan import followed_by
from fxcompress.reporting import build_report
from fxcompress.targets import Artifact, coded_by, save_artifact, target_for


@dataclass(frozen=True)
class Result:
    """A compressed model and what was seen on the way.

    Attributes:
        module: the compressed model, called as the model was, in evaluation mode.
        stages: one Stage a pass, in order.
        captured: the model as it was before the first pass.
        pipeline: the passes that ran.
        resources: the data that the run was given.
        plugins: those of the run, among them the targets of `save`; None stands for all that are installed.
    """

    module: CapturedModule
    stages: tuple[Stage, ...]
    captured: Captured
    pipeline: Pipeline
    resources: Resources = field(repr=False)
    plugins: Plugins | None = field(default=None, repr=False)

    @functools.cached_property
    def report(self) -> Report:
        """The table before and after: measured when it is first asked for, which takes some seconds."""
        with alone():
            return build_report(self.captured, self.module, self.pipeline, self.stages, self.resources)

    @property
    def plan(self) -> Plan:
        """Which positions of the captured model's tensors stay: {name: {dim: positions}}, for `fxc.apply_plan`."""
        plans = [stage.details["plan"] for stage in self.stages if "plan" in stage.details]
        return functools.reduce(followed_by, plans, {})

    def save(
        self,
        path: str | Path,
        target: str | Target | None = None,
        *,
        allow: Iterable[str] = (),
        coding: str | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        """Write the compressed model to `path`; all of it or nothing.

        Where several processes share the run, rank 0 writes, and the others return at once.

        Args:
            path: the file to write. Its suffix chooses the target: `.fxc` is an artifact, which `fxcompress.load` reads
                and which holds the plan too, `.onnx` is for ONNX Runtime and others, `.pt2` for `torch.export.load`.
            target: a target by its name, with options: `onnx`, `onnx{opset=21}`.
            allow: further namespaces of operators, which `fxcompress.load` must then be given too.
            coding: how the target codes what it writes, its option of that name; `auto` makes an artifact smallest.
            progress: is given a line of text when a tensor is coded.

        Raises:
            UsageError: there is no such target or coding, or it needs a package that is not installed.
            ArtifactError: the graph calls an operator that no artifact may hold, or the file cannot be written.
            ExportError: the target cannot express the graph.
        """
        if not is_first():
            return
        path = Path(path)
        chosen = coded_by(target_for(path, target, self.plugins or Plugins()), coding)
        text, inputs = str(self.pipeline), self.captured.inputs
        chosen.save(Emitted(self.module, inputs, text, self.plan, tuple(allow), progress), path)


Model = torch.nn.Module | torch.export.ExportedProgram | Captured | Artifact | Result


def compress(
    model: Model,
    example_inputs: Any,
    pipeline: str | Pipeline | Sequence[Pass],
    *,
    calibration: Iterable[Any] | None = None,
    train: TrainingData | None = None,
    evaluate: Callable[[torch.nn.Module], float] | None = None,
    teacher: Any = None,
    seed: int = 0,
    dynamic: str = "batch",
    verify_run: bool = True,
    diffs: bool = True,
    instruments: Sequence[str | Instrument] = (),
    reproduce: str | Path | None = None,
    snapshots: str | Path | None = None,
    plugins: Plugins | None = None,
    progress: Callable[[str], None] | None = None,
) -> Result:
    """Capture `model`, run `pipeline` on it, and return the compressed module with what every pass did.

    Where `torch.distributed` is initialized, its processes share the work: all of them call this with the same model,
    data and pipeline, and get the same module; see docs/distributed.md.

    Args:
        model: a module, an ExportedProgram, a Captured, a loaded artifact, or an earlier Result. It is not changed.
        example_inputs: a tuple of positional arguments, a dict of keyword arguments, or `fxc.Inputs`; None takes those
            that a Captured, an artifact or a Result brings.
        pipeline: a text, a Pipeline, or passes.
        calibration: batches of inputs for passes that look at activations.
        train: data and loss for passes that learn.
        evaluate: callable(module) -> float, higher is better; shown before and after in the report.
        teacher: who `distill` learns from: a model of any of these kinds, or what answers for one
            (`fxc.CachedTeacher`); the model before the passes where none is given.
        seed: of every random choice.
        dynamic: `batch` keeps the batch size open where the model allows it, `none` fixes all sizes.
        verify_run: run the example inputs after every pass; the other checks are always made.
        diffs: keep what each pass changed in the graph, in `stage.diff`.
        instruments: further instruments, objects or the names under which plugins registered them.
        reproduce: a folder that gets the graph just before a failing pass, and that pass alone.
        snapshots: a folder that gets the graph after every pass as text.
        plugins: where passes and instruments are looked up; by default everything that is installed.
        progress: is given a line of text when a step starts, and from passes that take long.

    Raises:
        UsageError: pipeline, inputs or plugins are wrong; nothing was run.
        CaptureError: the model cannot be captured.
        StepFailed: a pass failed or did what it may not; names step, pass, plugin and node.
        ProcessesFailed: another process of the run is gone, or was given something else.
    """
    plugins = plugins or Plugins()
    parsed = Pipeline.of(pipeline, plugins)
    captured = captured_from(model, example_inputs, dynamic)
    original = model if isinstance(model, torch.nn.Module) else None
    resources = Resources(
        captured.inputs, calibration, train, evaluate, seed, original, plugins.axis_rules, plugins.importances
    )
    resources = replace(resources, teacher=graph_of_teacher(teacher, captured.inputs, dynamic))
    progress = progress if is_first() else None
    resources = replace(resources, before=captured.module, say=progress, kernels=plugins.kernels)
    named = [named_instrument(one, plugins) for one in instruments]
    around: list[Instrument | None] = [
        Progress(len(parsed), progress) if progress is not None else None,
        Reproducer(Path(reproduce), save_artifact) if reproduce is not None and is_first() else None,
        Snapshots(Path(snapshots)) if snapshots is not None and is_first() else None,
        Diffs() if diffs else None,
        *(one for one in named if is_verified(one)),
        Verify(run=verify_run),
        SameOnAllRanks() if is_shared() else None,
        Fingerprints(),
        Statistics(),
        *(one for one in named if not is_verified(one)),
        Timing(),
    ]
    module = copy.deepcopy(captured.module)
    module.eval()
    if is_shared():
        check_start(module, str(parsed), seed)
    module, stages = run(parsed, module, resources, [one for one in around if one is not None], plugins)
    return Result(module, stages, captured, parsed, resources, plugins)


def captured_from(model: Model, example_inputs: Any, dynamic: str) -> Captured:
    """Return `model` as a Captured with the inputs to use.

    Raises:
        InputError: there are no example inputs, neither given nor with the model, or they do not fit.
    """
    if isinstance(model, Result):
        model = Captured(model.module, model.captured.inputs, model.captured.notes, model.captured.dynamic)
    if isinstance(model, Artifact):
        model = model.captured
    if not isinstance(model, Captured):
        return capture(model, example_inputs, dynamic=dynamic)
    inputs = model.inputs if example_inputs is None else example_inputs
    if inputs is None:
        raise InputError("the artifact holds no example inputs", hint="give some: fxc.compress(artifact, (x,), ...)")
    return replace(capture(model, inputs), notes=model.notes)


def graph_of_teacher(teacher: Any, inputs: Inputs, dynamic: str) -> Any:
    """Return the graph of a model to learn from; None and what answers already as they are."""
    if teacher is None or hasattr(teacher, "answers"):
        return teacher
    if isinstance(teacher, Captured | Artifact | Result):
        return captured_from(teacher, None, dynamic).module
    return capture(teacher, inputs, dynamic=dynamic).module


def named_instrument(one: str | Instrument, plugins: Plugins) -> Instrument:
    """Return an instrument by the name under which a plugin registered it; objects as they are."""
    if not isinstance(one, str):
        return one
    made: Instrument = plugins.instruments.get(one)()
    return made


def is_verified(one: Instrument) -> bool:
    """Whether an instrument is to be left when the module of the step is verified."""
    return bool(getattr(one, "verified", False))
