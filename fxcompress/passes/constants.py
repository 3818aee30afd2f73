"""What in a graph depends on no input: which nodes, what they are computed from, and what they give."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import torch
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

from fxcompress.graph.module import training_flag
from fxcompress.graph.nodes import argument, computed_from, is_call
from fxcompress.graph.tensors import tensor_of
from fxcompress.weights import dequantizes
from fxcompress.weights.rearranging import rearranged

aten = torch.ops.aten

_NORMS = (aten.batch_norm, aten.instance_norm)
# What is in fresh memory is not the same each time.
_FRESH_MEMORY = (aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty, aten.new_empty_strided)


@dataclass(frozen=True)
class Constant:
    """A node that depends on stored tensors alone.

    Attributes:
        node: the node.
        sources: the `get_attr` nodes that it is computed from, in the order of the graph.
        value: what it gives, a tensor of its own in row-major order.
        trainable: whether gradients reach a parameter through it.
        is_view: whether it only looks at the memory of a stored tensor, or of what another of the frontier gives.
        repeats: whether it gives the same elements of memory several times, as `expand` does.
    """

    node: Node
    sources: tuple[Node, ...]
    value: torch.Tensor
    trainable: bool
    is_view: bool
    repeats: bool


def constant_nodes(module: GraphModule) -> set[Node]:
    """Return the `get_attr` nodes of tensors that nothing writes into, and the calls that depend on these alone."""
    changing = written_tensors(module)
    constant: set[Node] = set()
    for node in module.graph.nodes:
        tensor = tensor_of(module, node)
        stored = tensor is not None and id(tensor) not in changing
        if stored or (is_repeatable(node) and all(source in constant for source in node.all_input_nodes)):
            constant.add(node)
    return constant


def is_repeatable(node: Node) -> bool:
    """Whether a call gives the same each time, in training too, changes nothing, and is no dequantize node."""
    if is_call(node, operator.getitem):
        return True
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return False
    if is_call(node, *_FRESH_MEMORY) or dequantizes(node) or training_flag(node) is not None:
        return False
    if is_call(node, *_NORMS) and argument(node, "running_mean") is not None:
        return False
    return not node.target._schema.is_mutable and torch.Tag.nondeterministic_seeded not in node.target.tags


def written_tensors(module: GraphModule) -> set[int]:
    """Return the ids of the tensors that calls write into, directly or through views, and of running statistics."""
    written: set[int] = set()
    for node in module.graph.nodes:
        for given in written_arguments(node):
            while given.op != "get_attr" and (source := rearranged(given) or _viewed(given)) is not None:
                given = source
            if (tensor := tensor_of(module, given)) is not None:
                written.add(id(tensor))
    return written


def written_arguments(node: Node) -> list[Node]:
    """Return the arguments that `node` writes into, in whatever mode."""
    if is_call(node, *_NORMS):
        given = [argument(node, "running_mean"), argument(node, "running_var")]
    elif isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable:
        schema = node.target._schema.arguments
        given = [argument(node, one.name) for one in schema if one.alias_info is not None and one.alias_info.is_write]
    else:
        given = []
    return [one for one in given if isinstance(one, Node)]


def _viewed(node: Node) -> Node | None:
    """Return the argument that shares its memory with what `node` gives, None where none does."""
    if is_call(node, operator.getitem):
        return node.args[0]  # type: ignore[return-value]
    if not isinstance(node.target, torch._ops.OpOverload) or not node.args:
        return None
    aliased = node.target._schema.arguments[0].alias_info is not None
    return node.args[0] if aliased and isinstance(node.args[0], Node) else None


def frontier(graph: Graph, constant: Collection[Node]) -> list[Node]:
    """Return the constant calls that give a tensor to something not constant, in the order of the graph."""
    return [
        node
        for node in graph.nodes
        if node in constant
        and node.op == "call_function"
        and isinstance(node.meta.get("val"), torch.Tensor)
        and any(user not in constant for user in node.users)
    ]


def tensor_inputs(node: Node) -> list[Node]:
    """Return the calls that give the tensors `node` is computed from; those inside of tuples instead of these."""
    found: list[Node] = []
    for source in node.all_input_nodes:
        if source.op == "call_function":
            found += [source] if isinstance(source.meta.get("val"), torch.Tensor) else tensor_inputs(source)
    return found


def computed(module: GraphModule, node: Node, frontier: Collection[Node]) -> Constant:
    """Compute what a constant `node` gives, and say whether it is a view of a stored tensor or of one of `frontier`."""
    order = computed_from(node)
    values: dict[Node, object] = {}
    with torch.enable_grad():
        for one in order:
            if one.op == "get_attr":
                values[one] = tensor_of(module, one)
            else:
                args, kwargs = map_arg((one.args, dict(one.kwargs)), values.__getitem__)  # type: ignore[arg-type]
                values[one] = one.target(*args, **kwargs)  # type: ignore[operator]
    found = values[node]
    assert isinstance(found, torch.Tensor)
    sources = {str(one.target): one for one in reversed(order) if one.op == "get_attr"}
    memory = {_memory(values[one]) for one in order if one.op == "get_attr" or (one in frontier and one is not node)}
    return Constant(
        node=node,
        sources=tuple(one for one in order if one in sources.values()),
        value=found.detach().clone(memory_format=torch.contiguous_format),
        trainable=found.requires_grad,
        is_view=_memory(found) in memory,
        repeats=found.untyped_storage().nbytes() < found.nbytes,
    )


def _memory(value: object) -> int:
    assert isinstance(value, torch.Tensor)
    return value.untyped_storage().data_ptr()


def read_without(module: GraphModule, folded: Iterable[Node]) -> set[int]:
    """Return the ids of the tensors that are still read once the `folded` nodes are stored."""
    stored, seen = set(folded), set()
    waiting = [node for node in module.graph.nodes if node.is_impure()]
    while waiting:
        node = waiting.pop()
        if node not in seen and node not in stored:
            seen.add(node)
            waiting += node.all_input_nodes
    return {id(tensor) for node in seen if (tensor := tensor_of(module, node)) is not None}


class Expressions:
    """Numbers nodes so that two have one number where they compute the same of the same tensors."""

    def __init__(self, module: GraphModule) -> None:
        self.module = module
        self.known: dict[str, int] = {}
        self.numbers: dict[Node, int] = {}

    def number(self, node: Node) -> int:
        """Return the number of a constant node."""
        for one in computed_from(node):
            if one not in self.numbers:
                self.numbers[one] = self.known.setdefault(self._key(one), len(self.known))
        return self.numbers[node]

    def _key(self, node: Node) -> str:
        if node.op == "get_attr":
            return f"tensor {id(tensor_of(self.module, node))}"
        args = map_arg((node.args, dict(node.kwargs)), lambda one: f"node {self.numbers[one]}")
        return f"{node.target} {args!r}"
