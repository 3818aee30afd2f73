"""Graphs of which some layers are quantized: pieces of a graph that is quantized as a whole, put into the original."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from fxcompress.graph.module import CapturedModule, copy_graph
from fxcompress.graph.tensors import attribute
from fxcompress.weights import Weight, weights_of


class Grafts:
    """Makes variants of a graph in which only some weights, and what their layers read, are quantized.

    No tensor is copied, and nothing is rounded anew: a layer in a variant is the layer of a quantized graph.

    Args:
        module: the original.
        quantized: a copy of it in which `quantize` has been at work; its other nodes have the old names.
        paths: the weights that are quantized there.
        fallback: another such copy, for the weights that are not to be as in `quantized`; None leaves them in floats.
    """

    def __init__(
        self,
        module: GraphModule,
        quantized: GraphModule,
        paths: Collection[str],
        fallback: GraphModule | None = None,
    ) -> None:
        self.module, self.quantized, self.fallback = module, quantized, fallback
        found = {weight.path: weight for weight in weights_of(module, module.graph.nodes)}
        self.weights: Mapping[str, Weight] = {path: found[path] for path in paths}

    def alone(self, path: str) -> CapturedModule:
        """Return the original with the weight under `path` quantized; it shares all tensors with both graphs."""
        return self._made({path: self.quantized})

    def variant(self, paths: Collection[str]) -> CapturedModule:
        """Return the original with the weights under `paths` quantized, the others as in the fallback."""
        sources = {path: self.quantized if path in paths else self.fallback for path in self.weights}
        return self._made({path: source for path, source in sources.items() if source is not None})

    def _made(self, sources: Mapping[str, GraphModule]) -> CapturedModule:
        variant = _Variant(self.module)
        for name, source in (("quantized", self.quantized), ("fallback", self.fallback)):
            if source is not None:
                wanted = {path for path, one in sources.items() if one is source}
                _Graft(variant, name, source, self.weights, wanted).attach()
        return variant.made()


class _Unwritten(CapturedModule):
    """A graph whose code is written when it is first called: most variants are run node by node, by others."""

    def recompile(self) -> Any:
        self._call_form = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        super().recompile()
        return type(self).forward(self, *args, **kwargs)


class _Variant:
    """A copy of a graph that gets other operands for some of its layers."""

    def __init__(self, module: GraphModule) -> None:
        self.module, self.graph = module, copy_graph(module.graph)
        self.here: dict[str, Node] = {node.name: node for node in self.graph.nodes}
        self.tensors: dict[str, Any] = {
            str(node.target): attribute(self.module, str(node.target)) for node in self.graph.find_nodes(op="get_attr")
        }

    def made(self) -> CapturedModule:
        made = _Unwritten(self.tensors, self.graph)
        made.meta.update(self.module.meta)
        made.training = self.module.training
        return made


class _Graft:
    """What a quantized graph, called `name`, gives to a variant: the weights `wanted`, with what stands around them."""

    def __init__(
        self, variant: _Variant, name: str, source: GraphModule, weights: Mapping[str, Weight], wanted: set[str]
    ) -> None:
        self.variant, self.here, self.name, self.source = variant, variant.here, name, source
        self.weights, self.wanted = weights, wanted
        self.there: dict[str, Node] = {node.name: node for node in source.graph.nodes}
        self.copies: dict[str, Node] = {}

    def attach(self) -> None:
        chosen = [weight for path, weight in self.weights.items() if path in self.wanted]
        touched = {node.name for weight in chosen for node in (*weight.users, *weight.readers)}
        for name in [name for name in self.here if name in touched]:
            self._attach(name)

    def _attach(self, name: str) -> None:
        """Let one layer, or view of a weight, read what it reads in the quantized graph."""
        node, twin = self.here[name], self.there[name]
        mine, form = pytree.tree_flatten((node.args, node.kwargs))
        theirs = pytree.tree_leaves((twin.args, twin.kwargs))
        operands = [self._operand(*pair, node) for pair in zip(mine, theirs, strict=True)]
        node.args, node.kwargs = pytree.tree_unflatten(operands, form)

    def _operand(self, mine: Any, theirs: Any, before: Node) -> Any:
        """Return an operand as in the quantized graph, but for other weights, which stay as they are."""
        if not isinstance(theirs, Node) or self._stored(theirs) & (self.weights.keys() - self.wanted):
            return mine
        return self._copied(theirs, before)

    def _stored(self, node: Node) -> set[str]:
        """Return the paths of the tensors that calls put in by `quantize` make `node` of."""
        if node.op == "get_attr":
            return {str(node.target)}
        if node.name in self.here:
            return set()
        return {path for given in node.all_input_nodes for path in self._stored(given)}

    def _copied(self, node: Node, before: Node) -> Node:
        """Return the twin of a node of the quantized graph; what the original lacks is put in before `before`."""
        if node.name in self.here and (node.op != "get_attr" or self._same(node)):
            return self.here[node.name]
        if node.name not in self.copies:
            self.copies[node.name] = self._inserted(node, before)
        return self.copies[node.name]

    def _same(self, node: Node) -> bool:
        one, other = (attribute(module, str(node.target)) for module in (self.variant.module, self.source))
        return one.dtype == other.dtype and torch.equal(one, other)

    def _inserted(self, node: Node, before: Node) -> Node:
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda one: self._copied(one, before))
        target = node.target
        if node.op == "get_attr":
            target = f"{self.name}.{node.target}"
            self.variant.tensors[target] = attribute(self.source, str(node.target))
        with self.variant.graph.inserting_before(before):
            made: Node = self.variant.graph.create_node(node.op, target, args, kwargs, name=node.name)
        made.meta = dict(node.meta)
        return made
