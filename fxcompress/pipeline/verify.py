"""Verification after every pass: a sound graph, the same types, no harm outside, and the results that were promised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from fxcompress.errors import VerificationFailed
from fxcompress.graph.fingerprint import tensor_digest
from fxcompress.graph.module import CapturedModule
from fxcompress.graph.nodes import attribute, named_tensors
from fxcompress.graph.shapes import propagate
from fxcompress.graph.types import symbol_names, type_text
from fxcompress.pipeline.observe import Observation, first_deviation, observe
from fxcompress.pipeline.step import Step

# Allowed difference of results, as a share of their largest magnitude, for passes that promise the same results.
EXACT_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 5e-2}
CLOSE_TOLERANCE = 5e-2


class Verify:
    """Fails a step whose result is not sound, or not what the pass promised.

    Args:
        run: also run the example inputs; the checks of graph, types and untouched originals are always made.
    """

    def __init__(self, *, run: bool = True) -> None:
        self.run = run
        self.observation: Observation | None = None
        self.signature: Signature | None = None

    @contextmanager
    def around(self, step: Step) -> Iterator[None]:
        signature = self.signature or Signature(step.module)
        bystanders = Bystanders(step)
        if self.run and self.observation is None:
            self.observation = observe(step.module, step.context.inputs, step.context.seed)
        yield
        check_graph(step.module)
        specialised = propagate(step.module).specialised
        if specialised:
            raise VerificationFailed(f"it fixes the dynamic size {specialised[0].text}", specialised[0].node)
        self.signature = Signature(step.module)
        signature.check(self.signature)
        bystanders.check()
        if self.run and self.observation is not None:
            after = observe(step.module, step.context.inputs, step.context.seed)
            step.largest_difference = check_results(self.observation, after, step.running.fidelity)
            self.observation = after


class Signature:
    """What callers of a module see: names and types of its inputs, structure and types of its results."""

    def __init__(self, module: CapturedModule) -> None:
        graph = module.graph
        symbols = symbol_names(graph)
        self.inputs = [
            f"{node.target}: {type_text(node.meta.get('val'), symbols)}" for node in graph.find_nodes(op="placeholder")
        ]
        self.output = graph.output_node()
        self.structure = getattr(getattr(graph._codegen, "pytree_info", None), "out_spec", None)
        leaves = pytree.tree_leaves(self.output.args[0], is_leaf=lambda leaf: isinstance(leaf, Node))
        self.results = [(str(leaf), type_text(value_of(leaf), symbols)) for leaf in leaves]

    def check(self, after: Signature) -> None:
        """Raise VerificationFailed where `after` is another signature than this one."""
        if self.inputs != after.inputs:
            gone = [text for text in self.inputs if text not in after.inputs] or after.inputs
            raise VerificationFailed(f"the inputs are others: ({', '.join(after.inputs)})", gone[0].split(":")[0])
        if len(self.results) != len(after.results) or self.structure != after.structure:
            raise VerificationFailed("the structure of the results is another", after.output)
        for (_, before_type), (name, after_type) in zip(self.results, after.results, strict=True):
            if before_type != after_type:
                raise VerificationFailed(f"a result of type {before_type} is now {after_type}", name)


class Bystanders:
    """What a pass must not touch: the model that the user passed in, and the example inputs."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.before = self._digests()

    def _digests(self) -> dict[str, str]:
        resources = self.step.context.resources
        digests = {f"the example input {i}": tensor_digest(t) for i, t in enumerate(resources.inputs.tensors())}
        if resources.original is not None:
            for path, tensor in named_tensors(resources.original):
                digests[path] = quick_digest(tensor)
        return digests

    def check(self) -> None:
        """Raise VerificationFailed where something outside the module was changed."""
        after = self._digests()
        for name, digest in self.before.items():
            if after.get(name) != digest:
                raise VerificationFailed(f"it changed {name!r} outside the module it was handed: the user's own", name)


def quick_digest(tensor: torch.Tensor) -> str:
    """Return a digest that any one change moves: cheap, blind to a reordering, enough to guard a bystander."""
    mixed = int(torch.hash_tensor(tensor.detach()).view(torch.int64)) if tensor.numel() else 0
    return f"{tensor.dtype}{tuple(tensor.shape)}{mixed}"


def value_of(leaf: Any) -> Any:
    """Return the fake value of an output's leaf: a node's, or a constant as it is."""
    return leaf.meta.get("val") if isinstance(leaf, Node) else leaf


def check_graph(module: GraphModule) -> None:
    """Raise VerificationFailed where the graph is not well formed or reads tensors that are not there."""
    for node in module.graph.find_nodes(op="get_attr"):
        try:
            attribute(module, str(node.target))
        except AttributeError:
            raise VerificationFailed(f"there is no tensor {node.target!r} in the module", node) from None
    placed: set[Node] = set()
    for node in module.graph.nodes:
        for source in node.all_input_nodes:
            if source not in placed:
                raise VerificationFailed(f"it reads %{source}, which stands after it or in another graph", node)
        placed.add(node)
    try:
        module.graph.lint()
    except (RuntimeError, ValueError, TypeError) as error:
        raise VerificationFailed(f"the graph is not well formed: {error}") from error


def check_results(before: Observation, after: Observation, fidelity: str) -> float:
    """Return the largest absolute difference of the results.

    Raises:
        VerificationFailed: a result is not finite where it was, or differs by more than `fidelity` allows.
    """
    largest = 0.0
    for index, (want, got) in enumerate(zip(before.results, after.results, strict=True)):
        if not isinstance(want, torch.Tensor):
            if want != got and fidelity == "exact":
                raise VerificationFailed(f"result {index} was {want!r} and is {got!r}")
            continue
        if want.numel() == 0:
            continue
        lost = torch.isfinite(want) & ~torch.isfinite(got) if want.is_floating_point() else torch.zeros(1)
        if lost.any():
            raise VerificationFailed(f"result {index} is not finite any more", first_deviation(before, after, 1e-6))
        difference, allowed = compared(want, got, fidelity)
        if difference > allowed:
            node = first_deviation(before, after, max(allowed / magnitude(want), 1e-6))
            raise VerificationFailed(
                f"result {index} differs by {difference:.2e}, an {fidelity} pass may by {allowed:.2e}", node
            )
        largest = max(largest, difference)
    return largest


def compared(want: torch.Tensor, got: torch.Tensor, fidelity: str) -> tuple[float, float]:
    """Return the largest absolute difference of two tensors, and what `fidelity` allows."""
    exact = EXACT_TOLERANCE.get(want.dtype, 0.0)
    wide_want, wide_got = finite(want), finite(got)
    difference = float((wide_want - wide_got).abs().max())
    share = {"exact": exact, "close": CLOSE_TOLERANCE, "lossy": float("inf")}[fidelity]
    return difference, share * magnitude(want) if share else 0.0


def magnitude(tensor: torch.Tensor) -> float:
    """Return the largest magnitude of a tensor's finite values, never 0."""
    return max(float(finite(tensor).abs().max()), 1e-12)


def finite(tensor: torch.Tensor) -> torch.Tensor:
    """Return `tensor` in float64 (complex as pairs), what is not finite set to 0."""
    parts = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return torch.nan_to_num(parts.double(), nan=0.0, posinf=0.0, neginf=0.0)
