"""Running a module once on the example inputs, with a small sample of every node's value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node
from torch.utils import _pytree as pytree

from fxcompress.analysis.observe import observe
from fxcompress.capturing import Inputs
from fxcompress.graph.module import CapturedModule

SAMPLES = 64


@dataclass(frozen=True)
class Sample:
    """Some values of a tensor, evenly spaced over it, and the mean magnitude of all."""

    values: torch.Tensor
    magnitude: float

    def agrees(self, other: Sample, tolerance: float) -> bool:
        """Whether both are of like values, where they are finite, within `tolerance` times their magnitude."""
        if self.values.shape != other.values.shape:
            return False
        allowed = tolerance * max(self.magnitude, 1e-30) if self.magnitude < float("inf") else float("inf")
        same = torch.allclose(self.values, other.values, rtol=tolerance, atol=allowed, equal_nan=True)
        return same and (abs(self.magnitude - other.magnitude) <= allowed or self.magnitude != self.magnitude)


@dataclass(frozen=True)
class Trace:
    """One run of a module.

    Attributes:
        module: what was run, as it was then.
        results: its results, flat, in the order of the output structure.
        samples: node name -> sample of the floating tensor that it gave.
    """

    module: CapturedModule
    results: list[Any]
    samples: dict[str, Sample]

    def result_name(self, index: int) -> str:
        """Return how a caller reaches a result: `result['logits']`."""
        spec = getattr(getattr(self.module.graph._codegen, "pytree_info", None), "out_spec", None)
        if spec is None:
            return f"result {index}"
        paths = pytree.tree_flatten_with_path(pytree.tree_unflatten(range(len(self.results)), spec))[0]
        return f"result{pytree.keystr(paths[index][0])}"


def trace(module: CapturedModule, inputs: Inputs, seed: int) -> Trace:
    """Run `module` in its present mode without gradients; generators and buffers are as before afterwards."""
    samples = _Samples(len(module.graph.nodes))
    results: list[Any] = []

    def observer(node: Node, value: Any, _: float) -> None:
        if node.op == "output":
            results.extend(pytree.tree_leaves(value))
        elif isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel():
            samples.add(node.name, value)

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        observe(module, inputs.map_tensors(torch.clone), observer)
    return Trace(module, results, samples.taken())


def sample(value: torch.Tensor) -> Sample:
    """Return a sample of a floating tensor with at least one element."""
    flat = value.detach().flatten()
    wide = torch.float32 if flat.dtype.itemsize < 4 else flat.dtype
    return Sample(flat[:: max(1, flat.numel() // SAMPLES)].double(), float(flat.abs().mean(dtype=wide)))


class _Samples:
    """Samples of many tensors, in one piece of memory.

    Small tensors that stay, made between large ones that go, keep the allocator from using the places of these again:
    a run of 2000 nodes then takes the memory of all its values.
    """

    def __init__(self, most: int) -> None:
        self.values = torch.empty(most, 2 * SAMPLES, dtype=torch.float64)
        self.facts: dict[str, tuple[int, float]] = {}

    def add(self, name: str, value: torch.Tensor) -> None:
        """Take a sample of a floating tensor with at least one element."""
        made = sample(value)
        self.values[len(self.facts), : len(made.values)] = made.values
        self.facts[name] = len(made.values), made.magnitude

    def taken(self) -> dict[str, Sample]:
        """Return the samples by the names of their nodes."""
        rows = zip(self.facts.items(), self.values, strict=False)
        return {name: Sample(row[:count], magnitude) for (name, (count, magnitude)), row in rows}


def origin_of_deviation(before: Trace, after: Trace, index: int, tolerance: float) -> str | None:
    """Return the node at which the deviation of a result begins.

    The search goes from the result towards the inputs, through nodes whose values deviate from those of the node of the
    same name before, and through nodes that are new. A node that deviates behind one that agrees again was changed on
    purpose.
    """
    graph = after.module.graph
    leaves = pytree.tree_leaves(graph.output_node().args[0])
    waiting, seen = [leaves[index]], set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, Node) and node not in seen and not agrees(before, after, node, tolerance):
            seen.add(node)
            waiting += node.all_input_nodes
    begins = [node for node in graph.nodes if node in seen and node.op == "call_function"]
    shared = [node for node in begins if node.name in before.samples]
    return next((node.name for node in shared or begins), None)


def agrees(before: Trace, after: Trace, node: Node, tolerance: float) -> bool:
    """Whether `node` gives what it gave before; a new node, or one that gives no floating tensor, does not."""
    if node.op == "placeholder":
        return True
    was, now = before.samples.get(node.name), after.samples.get(node.name)
    return was is not None and now is not None and was.agrees(now, tolerance)
