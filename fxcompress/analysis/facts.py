"""Facts read off a graph, computed when somebody asks and dropped when the graph has changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch.fx import GraphModule

from fxcompress.graph.tensors import named_tensors
from fxcompress.graph.types import type_text

Fact = TypeVar("Fact")


class Facts:
    """Keeps what analyses say about one module for as long as its structure stays as it is.

        facts = Facts(module)
        facts.get(cost).macs

    An analysis is a function of the module. What counts as a change is in `structure`: nodes, their arguments, the
    types of the inputs, which tensors are stored. New values in a tensor that stays do not count, since facts are
    about structure: whoever caches an analysis that reads values calls `drop` after writing some.
    """

    def __init__(self, module: GraphModule) -> None:
        self.module = module
        self._structure: int | None = None
        self._known: dict[Callable[[GraphModule], Any], Any] = {}

    def get(self, analysis: Callable[[GraphModule], Fact]) -> Fact:
        """Return what `analysis` says about the module as it is now, computed at most once for each structure."""
        now = structure(self.module)
        if now != self._structure:
            self.drop()
            self._structure = now
        if analysis not in self._known:
            self._known[analysis] = analysis(self.module)
        found: Fact = self._known[analysis]
        return found

    def drop(self) -> None:
        """Forget everything."""
        self._known.clear()
        self._structure = None


def structure(module: GraphModule) -> int:
    """Return a hash of all that facts depend on; it is cheap, for no tensor is read."""
    nodes = [(node.op, node.name, str(node.target), repr(node.args), repr(node.kwargs)) for node in module.graph.nodes]
    inputs = [type_text(node.meta.get("val")) for node in module.graph.find_nodes(op="placeholder")]
    tensors = [
        (path, id(tensor), tensor.dtype, tuple(tensor.shape), tensor.device) for path, tensor in named_tensors(module)
    ]
    return hash((tuple(nodes), tuple(inputs), tuple(tensors)))
