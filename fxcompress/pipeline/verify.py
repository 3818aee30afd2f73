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
from fxcompress.graph.shapes import propagate
from fxcompress.graph.tensors import attribute, named_tensors
from fxcompress.graph.types import symbol_names, type_text
from fxcompress.pipeline.results import check_results
from fxcompress.pipeline.step import Step
from fxcompress.pipeline.trace import Trace, trace


class Verify:
    """Fails a step whose result is not sound, or not what the pass promised. Stands outside Fingerprints.

    Args:
        run: also run the example inputs; the checks of graph, types and untouched originals are always made.
    """

    def __init__(self, *, run: bool = True) -> None:
        self.run = run
        self.last: Trace | None = None
        self.signature: Signature | None = None

    @contextmanager
    def around(self, step: Step) -> Iterator[None]:
        signature = self.signature or Signature(step.module)
        bystanders = Bystanders(step)
        if self.run and self.last is None:
            self.last = trace(step.module, step.context.inputs, step.context.seed)
        yield
        check_graph(step.module)
        specialised = propagate(step.module).specialised
        if specialised:
            raise VerificationFailed(f"it fixes the dynamic size {specialised[0].text}", specialised[0].node)
        self.signature = Signature(step.module)
        signature.check(self.signature, may_add=step.running.adds_results)
        bystanders.check()
        if self.run and self.last is not None:
            # Where graph and tensors are the same to the bit, so are the results.
            after = trace(step.module, step.context.inputs, step.context.seed) if step.changed else self.last
            step.largest_difference = check_results(self.last, after, step.running.fidelity)
            self.last = after


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

    def check(self, after: Signature, *, may_add: bool = False) -> None:
        """Raise VerificationFailed where `after` is another signature than this one, or gives more and may not."""
        if self.inputs != after.inputs:
            gone = [text for text in self.inputs if text not in after.inputs] or after.inputs
            raise VerificationFailed(f"the inputs are others: ({', '.join(after.inputs)})", gone[0].split(":")[0])
        adds = may_add and self.structure != after.structure
        structure, results = after.first() if adds else (after.structure, after.results)
        if len(self.results) != len(results) or self.structure != structure:
            raise VerificationFailed("the structure of the results is another", after.output)
        for (_, before_type), (name, after_type) in zip(self.results, results, strict=True):
            if before_type != after_type:
                raise VerificationFailed(f"a result of type {before_type} is now {after_type}", name)

    def first(self) -> tuple[Any, list[tuple[str, str]]]:
        """Return structure and results of the first of a pair whose second is a dictionary; of all where it is none."""
        spec = self.structure
        if spec is None or spec.type is not tuple or spec.num_children != 2 or spec.child(1).type is not dict:
            return spec, self.results
        return spec.child(0), self.results[: spec.child(0).num_leaves]


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
