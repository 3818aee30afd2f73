"""The report of a run: what is measured of the model before and after, and of every layer."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from fxcompress.analysis.cost import Cost, ScopeCost, cost
from fxcompress.analysis.fidelity import compare_outputs
from fxcompress.analysis.layers import layer_errors, layer_seconds
from fxcompress.analysis.measure import Latency, paired_latency, peak_memory
from fxcompress.capturing import Captured, Inputs
from fxcompress.contract import Resources
from fxcompress.errors import ArtifactError
from fxcompress.graph.module import CapturedModule
from fxcompress.inspect import LayerRow, Measurement, Point, Report, StepRow, diff_snapshots, snapshot
from fxcompress.pipeline import Pipeline, Stage
from fxcompress.targets import artifact_bytes
from fxcompress.teaching.results import untapped

LATENCY_SECONDS = 3.0


def build_report(
    captured: Captured, module: CapturedModule, pipeline: Pipeline, stages: Sequence[Stage], resources: Resources
) -> Report:
    """Measure `module` beside the module it was made from, and return the report; takes some seconds.

    Latency and memory are those of one call with the example inputs, fidelity is that of its results.
    """
    before, inputs = captured.module, captured.inputs
    costs = (cost(before, inputs=inputs), cost(module, inputs=inputs))
    text = str(pipeline)
    trajectory = points(stages)
    plain = untapped(module) if module.meta.get("taps") else module
    return Report(
        model=type(resources.original).__name__ if resources.original is not None else "model",
        pipeline=text,
        measurements=(
            *sizes(before, module, costs),
            *speeds(before, module, inputs),
            *fidelities(before, plain, inputs),
            *scores(before, plain, resources.evaluate, trajectory),
        ),
        steps=tuple(map(step_row, stages)),
        layers=layer_rows(before, module, inputs, costs),
        trajectory=trajectory,
        notes=(*captured.notes, *(note for found in costs for note in unknown_notes(found))),
        diff=diff_snapshots(snapshot(before, "capture"), snapshot(module, text)),
        environment=environment(inputs),
    )


def sizes(before: CapturedModule, after: CapturedModule, costs: tuple[Cost, Cost]) -> list[Measurement]:
    """Return parameters, bytes of the tensors, bytes of the file, and multiply-accumulates."""
    old, new = costs
    return [
        Measurement("parameters", "count", old.params, new.params),
        Measurement("tensors", "bytes", old.bytes, new.bytes, note="in memory"),
        file_size(before, after),
        Measurement("MACs", "macs", old.macs, new.macs, note="multiply-accumulates of one call"),
    ]


def file_size(before: CapturedModule, after: CapturedModule) -> Measurement:
    """Return the bytes of the artifacts of both; none where a graph calls operators that no artifact may hold."""
    try:
        return Measurement("file", "bytes", artifact_bytes(before), artifact_bytes(after), note=".fxc on disk")
    except ArtifactError as error:
        return Measurement("file", "bytes", None, None, note=error.message)


def speeds(before: CapturedModule, after: CapturedModule, inputs: Inputs) -> list[Measurement]:
    """Return latency, measured in turns, and peak memory of one call."""
    device = device_of(inputs)
    calls = {"before": call(before, inputs), "after": call(after, inputs)}
    with torch.no_grad():
        found = paired_latency(calls, budget_seconds=LATENCY_SECONDS, device=device)
        peaks = {name: peak_memory(one, device=device) for name, one in calls.items()}
    old, new = found["before"], found["after"]
    return [
        Measurement(
            "latency",
            "seconds",
            old.median,
            new.median,
            half_range(old),
            half_range(new),
            "median, half the quartile range",
        ),
        Measurement("peak memory", "bytes", peaks["before"], peaks["after"], note="activations of one call"),
    ]


def call(module: CapturedModule, inputs: Inputs) -> Callable[[], object]:
    return lambda: inputs.call(module)


def half_range(latency: Latency) -> float:
    return (latency.high - latency.low) / 2


def fidelities(before: CapturedModule, after: CapturedModule, inputs: Inputs) -> list[Measurement]:
    """Return how near the results on the example inputs are to those before."""
    with torch.no_grad():
        found = compare_outputs(inputs.call(before), inputs.call(after))
    return [
        Measurement("SQNR", "dB", None, found.sqnr_db, note="of the results on the example inputs"),
        Measurement("cosine", "score", None, found.cosine, note="of the results on the example inputs"),
    ]


def points(stages: Sequence[Stage]) -> tuple[Point, ...]:
    """Return where the model stood before the first pass and after each, where an instrument measured that."""
    standings = [stage.standings for stage in stages if stage.standings is not None]
    if not standings or len(standings) != len(stages):
        return ()
    after = [Point(stage.text, standing[1]) for stage, standing in zip(stages, standings, strict=True)]
    return (Point("original", standings[0][0]), *after)


def scores(
    before: CapturedModule,
    after: CapturedModule,
    evaluate: Callable[[torch.nn.Module], float] | None,
    trajectory: Sequence[Point] = (),
) -> list[Measurement]:
    """Return what the user's own `evaluate` gives, as it was measured already where a trajectory was."""
    if evaluate is None:
        return []
    known = [point.standing.metric for point in trajectory]
    if known and known[0] is not None and known[-1] is not None:
        return [Measurement("evaluate", "score", known[0], known[-1], note="higher is better")]
    with torch.no_grad():
        old, new = float(evaluate(before)), float(evaluate(after))
    return [Measurement("evaluate", "score", old, new, note="higher is better")]


def step_row(stage: Stage) -> StepRow:
    """Return a stage as a row of the report."""
    return StepRow(
        text=stage.text,
        plugin=stage.plugin or "",
        fidelity=stage.fidelity,
        seconds=stage.seconds,
        changed=stage.changed,
        largest_difference=stage.largest_difference,
        statistics={**stage.statistics, **stage.measurements},
        notes=stage.notes,
        diff=stage.diff,
        ranking=stage.details.get("ranking"),
    )


def layer_rows(
    before: CapturedModule, after: CapturedModule, inputs: Inputs, costs: tuple[Cost, Cost]
) -> tuple[LayerRow, ...]:
    """Return a row for every scope of either side, in the order of the graph before."""
    old, new = ({row.scope: row for row in found.by_scope} for found in costs)
    with torch.no_grad():
        errors = layer_errors(before, after, inputs)
        times = (layer_seconds(before, inputs), layer_seconds(after, inputs))
    rows = []
    for scope in dict.fromkeys([*old, *new]):
        was, now = old.get(scope), new.get(scope)
        rows.append(
            LayerRow(
                scope=scope,
                kind=kind_of(was, now),
                params_before=None if was is None else was.params,
                params_after=None if now is None else now.params,
                bytes_before=None if was is None else was.bytes,
                bytes_after=None if now is None else now.bytes,
                macs_before=None if was is None else was.macs,
                macs_after=None if now is None else now.macs,
                sqnr_db=errors.get(scope),
                seconds_before=times[0].get(scope),
                seconds_after=times[1].get(scope),
            )
        )
    return tuple(rows)


def kind_of(*sides: ScopeCost | None) -> str:
    return next(side.kind for side in sides if side is not None)


def unknown_notes(found: Cost) -> list[str]:
    """Return a sentence for calls whose multiply-accumulates nobody knows."""
    return [f"MACs of %{name} are not counted: {why}" for name, why in found.unknown.items()]


def environment(inputs: Inputs) -> dict[str, str]:
    """Return what a reader needs to place the figures: versions, device, threads."""
    device = device_of(inputs)
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return {
        "fxcompress": version("fxcompress"),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "device": chip,
        "threads": str(torch.get_num_threads()),
        "inputs": inputs.describe(),
    }


def processor() -> str:
    """Return the processor's name as Linux gives it, its architecture elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def device_of(inputs: Inputs) -> torch.device:
    """Return the device of the first tensor among the inputs."""
    tensors = inputs.tensors()
    return tensors[0].device if tensors else torch.device("cpu")
