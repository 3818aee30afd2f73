"""The run of the module beside the graph: whether both give the same, and the first place where they do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import Node
from torch.utils import _pytree as pytree

from fxcompress.capturing import Inputs
from fxcompress.graph.module import CapturedModule
from fxcompress.graph.types import type_text
from fxcompress.pipeline.results import EXACT_TOLERANCE, finite, magnitude
from fxcompress.pipeline.trace import Sample, sample, trace


@dataclass(frozen=True)
class Outcome:
    """What a run showed.

    Attributes:
        why: what is wrong, None where the results are those of the graph.
        path: of the first module that raises or gives something else, None where none was seen.
        progress: how many calls of modules were right before that.
    """

    why: str | None
    path: str | None = None
    progress: int = 0


class Witness:
    """What the compressed graph gives on the example inputs: its results, and what each module in it hands on."""

    def __init__(self, module: CapturedModule, inputs: Inputs, seed: int) -> None:
        self.inputs = inputs
        self.seed = seed
        training = module.training
        module.eval()
        try:
            run = trace(module, inputs, seed)
        finally:
            module.train(training)
        self.run = run
        self.tolerance = _tolerance(module)
        self.given = {
            path: [run.samples[name] for name in names if name in run.samples] for path, names in _ends(module)
        }

    def compare(self, model: nn.Module) -> Outcome:
        """Run `model`, which is left in evaluation mode, and say where it differs from the graph first."""
        model.eval()
        with _Watch(model, self) as watch, torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(self.seed)
            try:
                results = self.inputs.map_tensors(torch.clone).call(model)
            except Exception as error:  # noqa: BLE001  # The model is the user's and may raise anything.
                text = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
                return Outcome(f"{watch.where()} raises {text}", watch.inside(), watch.right)
        why = self._difference(pytree.tree_leaves(results))
        if why is None:
            return Outcome(None)
        first = "" if watch.first is None else f"; the first module whose output differs is {watch.where()}"
        return Outcome(why + first, watch.first, watch.right)

    def _difference(self, results: list[Any]) -> str | None:
        """Return how the results differ from those of the graph, None where they do not."""
        if len(results) != len(self.run.results):
            return f"it gives {len(results)} results, and the graph {len(self.run.results)}"
        for place, (want, got) in enumerate(zip(self.run.results, results, strict=True)):
            how = _unlike(want, got, self.tolerance)
            if how is not None:
                return f"its {self.run.result_name(place)} {how}"
        return None

    def right(self, path: str, output: Any) -> bool:
        """Whether a module gives what the graph gives in its place; where the graph has none there, it does."""
        given = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, torch.Tensor)]
        given = [leaf for leaf in given if leaf.is_floating_point() and leaf.numel()]
        wanted = self.given.get(path)
        if not given or not wanted:
            return True
        made = sample(given[0])
        return any(_agree(made, one, self.tolerance) for one in wanted)


def _unlike(want: Any, got: Any, tolerance: float) -> str | None:
    """Return how one result differs from that of the graph, None where it does not."""
    if not isinstance(want, torch.Tensor) or not isinstance(got, torch.Tensor):
        return None
    if want.dtype != got.dtype or want.shape != got.shape:
        larger = want.numel() > got.numel()
        zeros = ": what is returned has its old size there, with zeros for what was removed" if larger else ""
        return f"is {type_text(got)}, and the graph's {type_text(want)}{zeros}"
    difference = float((finite(want) - finite(got)).abs().max()) if want.numel() else 0.0
    if difference > tolerance * magnitude(want) or not torch.equal(want.isfinite(), got.isfinite()):
        return f"differs from the graph's by {difference:.1e}"
    return None


def _agree(one: Sample, other: Sample, tolerance: float) -> bool:
    return other.agrees(one, max(tolerance, 1e-6))


def _tolerance(module: CapturedModule) -> float:
    """Return what float error may do where the coarsest type of the graph is what it calculates in."""
    values = (node.meta.get("val") for node in module.graph.nodes)
    types = {value.dtype for value in values if isinstance(value, torch.Tensor) and value.is_floating_point()}
    return max((EXACT_TOLERANCE.get(dtype, 0.0) for dtype in types), default=0.0)


def _paths(node: Node) -> set[str]:
    stack = node.meta.get("nn_module_stack") or {}
    return {str(path) for path, _ in stack.values()}


def _ends(module: CapturedModule) -> list[tuple[str, list[str]]]:
    """Return for every module in the graph the names of the nodes that are read outside of it."""
    found: dict[str, list[str]] = {}
    inside = {node: _paths(node) for node in module.graph.nodes}
    for node, paths in inside.items():
        if node.op == "call_function":
            for path in paths:
                if any(path not in inside[user] for user in node.users):
                    found.setdefault(path, []).append(node.name)
    return list(found.items())


class _Watch:
    """Follows a run of a model from module to module."""

    def __init__(self, model: nn.Module, witness: Witness) -> None:
        self.model = model
        self.witness = witness
        self.entered: list[str] = []
        self.first: str | None = None
        self.right = 0

    def __enter__(self) -> _Watch:
        self.handles = []
        for path, module in self.model.named_modules():
            self.handles.append(module.register_forward_pre_hook(self._enter(path), prepend=True))
            self.handles.append(module.register_forward_hook(self._leave(path)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _enter(self, path: str) -> Any:
        return lambda module, args: self.entered.append(path)

    def _leave(self, path: str) -> Any:
        def leave(module: nn.Module, args: Any, output: Any) -> None:
            self.entered.pop()
            if self.first is None:
                if self.witness.right(path, output):
                    self.right += 1
                else:
                    self.first = path

        return leave

    def inside(self) -> str | None:
        """Return the module in which something goes wrong first: that differs, or that has not come to its end."""
        return self.first if self.first is not None else (self.entered[-1] if self.entered else None)

    def where(self) -> str:
        path = self.inside()
        if path is None:
            return "it"
        kind = type(self.model.get_submodule(path)).__name__
        return f"{path} ({kind})" if path else kind
