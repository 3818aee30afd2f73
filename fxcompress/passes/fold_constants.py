"""Computing once what depends on no input: weight standardisation, masks, tables of positions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from fxcompress.contract import Pass, PassContext, at_least, option, statistic
from fxcompress.graph.module import training_flag
from fxcompress.graph.nodes import add_tensor, attribute, drop_unused, rename_tensor, tensor_of


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Compute what depends on stored tensors alone, and store the results.

    Weight standardisation becomes a plain weight, so that later passes find it. A result takes the name of the parameter
    that it is computed from, where it is the only one and has the same shape, and is trainable where that was. Dequantize
    nodes stay, since folding them would undo the compression, and so do bare views, which cost nothing.
    """

    name = "fold-constants"
    fidelity = "exact"
    growth: int = option(1 << 20, help="leave results that are larger by more bytes than what they replace", check=at_least(0))
    folded = statistic("results stored")
    nodes = statistic("nodes removed")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        before = len(module.graph.nodes)
        for node in frontier(module):
            sources = stored_sources(node)
            value = compute(module, node)
            grown = num_bytes(value) - sum(num_bytes(tensor_of(module, source)) for source in sources)
            if grown > self.growth:
                context.note(f"%{node.name} is left alone: storing it takes {grown:,} bytes more than what it is made of")
                continue
            store(module, node, value, sources)
            context.record(folded=1)
        drop_unused(module)
        context.record(nodes=before - len(module.graph.nodes))
        return module


def frontier(module: GraphModule) -> list[Node]:
    """Return the constant calls that something not constant reads, and that do more than look at a stored tensor."""
    constant: set[Node] = set()
    for node in module.graph.nodes:
        if node.op == "get_attr" and tensor_of(module, node) is not None:
            constant.add(node)
        elif is_foldable(node) and all(source in constant for source in node.all_input_nodes):
            constant.add(node)
    ends = [node for node in constant if node.op == "call_function" and any(user not in constant for user in node.users)]
    return [node for node in module.graph.nodes if node in ends and gives_tensor(node) and not is_view_of_stored(node)]


def is_foldable(node: Node) -> bool:
    """Whether a call gives the same each time, changes nothing, and is no dequantize node."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return False
    schema, tags = node.target._schema, node.target.tags
    return (
        not schema.is_mutable
        and torch.Tag.nondeterministic_seeded not in tags
        and training_flag(node) is None
        and not (node.target.namespace == "quantized_decomposed" and schema.name.split("::")[1].startswith("dequantize"))
    )


def gives_tensor(node: Node) -> bool:
    return isinstance(node.meta.get("val"), torch.Tensor)


def is_view_of_stored(node: Node) -> bool:
    """Whether `node` reaches a stored tensor through views only."""
    while node.op == "call_function":
        schema = node.target._schema  # type: ignore[union-attr]
        viewed = [i for i, argument in enumerate(schema.arguments) if argument.alias_info is not None]
        if not viewed or not isinstance(node.args[viewed[0]], Node):
            return False
        node = node.args[viewed[0]]  # type: ignore[assignment]
    return node.op == "get_attr"


def stored_sources(node: Node) -> list[Node]:
    """Return the `get_attr` nodes that `node` is computed from, one for each name, in the order of the graph."""
    seen: dict[Node, None] = {}
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen[one] = None
            waiting += one.all_input_nodes
    named = {str(one.target): one for one in seen if one.op == "get_attr"}
    return [one for one in node.graph.nodes if one in named.values()]


def compute(module: GraphModule, node: Node) -> torch.Tensor:
    """Return the value of a node that depends on stored tensors alone."""
    values: dict[Node, object] = {}

    def value_of(one: Node) -> object:
        if one not in values:
            if one.op == "get_attr":
                values[one] = tensor_of(module, one)
            else:
                args, kwargs = map_arg((one.args, dict(one.kwargs)), value_of)
                values[one] = one.target(*args, **kwargs)  # type: ignore[operator]
        return values[one]

    with torch.no_grad():
        found = value_of(node)
    assert isinstance(found, torch.Tensor)
    return found.detach().clone(memory_format=torch.contiguous_format)


def num_bytes(tensor: torch.Tensor | None) -> int:
    return 0 if tensor is None else tensor.numel() * tensor.element_size()


def store(module: GraphModule, node: Node, value: torch.Tensor, sources: list[Node]) -> None:
    """Let a stored tensor stand for `node`, under the name of its only parameter where that is free to change."""
    parameters = [source for source in sources if isinstance(tensor_of(module, source), torch.nn.Parameter)]
    trainable = any(tensor_of(module, source).requires_grad for source in parameters)  # type: ignore[union-attr]
    path = str(parameters[0].target) if len(parameters) == 1 else f"folded_{node.name}"
    wanted = torch.nn.Parameter(value, requires_grad=trainable) if parameters and value.is_floating_point() else value
    stored = add_tensor(module, path, wanted, node)
    stored.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(stored)
    module.graph.erase_node(node)
    if len(parameters) == 1 and not still_read(module, parameters[0]):
        rename_tensor(module, str(stored.target), path)


def still_read(module: GraphModule, source: Node) -> bool:
    """Whether anything reads the tensor of `source` once dead nodes are gone, under whatever name."""
    module.graph.eliminate_dead_code()
    tensor = attribute(module, str(source.target))
    alive = module.graph.find_nodes(op="get_attr")
    return any(tensor_of(module, one) is tensor for one in alive)
