"""Running a module once on the example inputs, with a small trace of every node's value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Interpreter, Node
from torch.utils import _pytree as pytree

from fxcompress.capturing import Inputs
from fxcompress.graph.module import CapturedModule


@dataclass(frozen=True)
class Observation:
    """Results of one run, as flat tensors, and for every node that gives a floating tensor (mean, mean magnitude)."""

    results: list[Any]
    trace: dict[str, tuple[float, float]]


class _Tracing(Interpreter):
    def __init__(self, module: CapturedModule) -> None:
        super().__init__(module)
        self.trace: dict[str, tuple[float, float]] = {}

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        if n.op == "call_function" and isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel():
            wide = value if value.dtype in (torch.float32, torch.float64) else value.float()
            self.trace[n.name] = (float(wide.mean()), float(wide.abs().mean()))
        return value


def observe(module: CapturedModule, inputs: Inputs, seed: int) -> Observation:
    """Run `module` in its present mode without gradients; the global generators are as before afterwards."""
    flat = module.graph._codegen.process_inputs(*inputs.args, **inputs.kwargs)
    tracing = _Tracing(module)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        given = [value.clone() if isinstance(value, torch.Tensor) else value for value in flat]
        results = tracing.run(*given, enable_io_processing=False)
    return Observation(pytree.tree_leaves(results), tracing.trace)


def first_deviation(before: Observation, after: Observation, tolerance: float) -> str | None:
    """Return the node from which on the shared nodes' values deviate up to the results; None where none does.

    A node that deviates while later ones agree again was changed on purpose; so the search runs backwards, and stops at
    the last one that agrees.
    """
    found = None
    for name, (mean, magnitude) in reversed(after.trace.items()):
        if name not in before.trace:
            continue
        mean_before, magnitude_before = before.trace[name]
        allowed = tolerance * max(magnitude_before, 1e-30)
        if abs(mean - mean_before) <= allowed and abs(magnitude - magnitude_before) <= allowed:
            break
        found = name
    return found
