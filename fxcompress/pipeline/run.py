"""The one loop that runs a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from torch.fx import Node

from fxcompress.contract import PassContext, Resources, statistics_of
from fxcompress.errors import FxcompressError, PassFailed, StepFailed, VerificationFailed
from fxcompress.graph.module import CapturedModule
from fxcompress.graph.types import symbol_names, type_text
from fxcompress.pipeline.aside import apply_aside
from fxcompress.pipeline.spec import Pipeline
from fxcompress.pipeline.step import Instrument, Stage, Step, as_captured
from fxcompress.plugins import Plugins


def run(
    pipeline: Pipeline,
    module: CapturedModule,
    resources: Resources,
    instruments: Sequence[Instrument],
    plugins: Plugins,
) -> tuple[CapturedModule, tuple[Stage, ...]]:
    """Run the passes of `pipeline` one after the other on `module`, which they may edit.

    Args:
        instruments: stand around every step, the first outermost.

    Raises:
        StepFailed: a pass failed, or an instrument found it wrong; raised from what happened.
    """
    stages = []
    for index, running in enumerate(pipeline):
        context = PassContext(resources, tuple(statistics_of(type(running))))
        step = Step(index, running, plugins.plugin_of(type(running)), module, context)
        forget_origins(module)
        try:
            with ExitStack() as stack:
                for instrument in instruments:
                    stack.enter_context(instrument.around(step))
                step.module = as_captured(apply_aside(running, step.module, step.context))
        except Exception as error:
            raise step_failed(step, len(pipeline), error) from error
        module = step.module
        stages.append(step.stage())
    return module, tuple(stages)


def forget_origins(module: CapturedModule) -> None:
    """Drop what earlier passes recorded of the nodes' former selves: names now mean this module's nodes."""
    for node in module.graph.nodes:
        node.meta.pop("origin", None)


def step_failed(step: Step, count: int, error: Exception) -> StepFailed:
    """Return the error that names step, pass, plugin, node and shapes."""
    node = getattr(error, "node", None)
    what = "does not verify" if isinstance(error, VerificationFailed) else "failed"
    by = f"plugin {step.plugin!r}" if step.plugin else f"class {type(step.running).__qualname__}"
    why = error.message if isinstance(error, FxcompressError) else f"{type(error).__name__}: {error}"
    lines = [f"step {step.index + 1} of {count}, {step.text} ({by}), {what}: {why}"]
    found = next((one for one in step.module.graph.nodes if one.name == node), None)
    if found is not None:
        lines.append(f"  {node_line(found)}")
    hint = error.hint if isinstance(error, FxcompressError) else None
    if hint is None and not isinstance(error, PassFailed):
        hint = "this is a fault of the pass; --reproduce DIR keeps the graph just before it"
    return StepFailed("\n".join(lines), step=step.index, pass_text=step.text, plugin=step.plugin, node=node, hint=hint)


def node_line(node: Node) -> str:
    """Return a node with the types it takes and gives."""
    symbols = symbol_names(node.graph)
    taken = ", ".join(f"%{source.name} {type_text(source.meta.get('val'), symbols)}" for source in node.all_input_nodes)
    given = type_text(node.meta.get("val"), symbols)
    return f"%{node.name} = {node._pretty_print_target(node.target)}({taken}) -> {given}"
