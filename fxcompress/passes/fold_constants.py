"""Computing once what depends on no input: weight standardisation, masks, tables of positions."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import torch
from torch.fx import GraphModule, Node

from fxcompress.contract import Pass, PassContext, at_least, option, statistic
from fxcompress.graph.tensors import add_tensor, drop_unused, is_persistent, set_tensor, tensor_of
from fxcompress.passes.constants import (
    Constant,
    Expressions,
    computed,
    constant_nodes,
    frontier,
    read_without,
    tensor_inputs,
)
from fxcompress.text import listing


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Compute what depends on stored tensors alone, and store the results.

    Weight standardisation becomes a plain weight, so that later passes find it. A result takes the name of the
    parameter that it is computed from, where one of the same shape is read nowhere else, or the name under which a
    parametrization computed it; other results get a name of their own, `NAME_folded`. A result is trainable where
    gradients reached a parameter through it, and trains as it is stored.

    What stays: dequantize nodes, since folding them would undo the compression; bare views, which cost nothing; random
    numbers, and what is in memory that the graph writes into; results that exceed what they replace by more than
    `growth` bytes; results of a trainable parameter that is read elsewhere too, since the two would be trained apart.

    `details`: `folded` maps the node of each result to the path where it is stored.
    """

    name = "fold-constants"
    fidelity = "exact"
    growth: int = option(1 << 20, help="most bytes by which a result may exceed what it replaces", check=at_least(0))
    folded = statistic("results stored")
    nodes = statistic("nodes removed")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        before = [node for node in module.graph.nodes if node.op == "call_function"]
        chosen = self._choose(module, context)
        paths = store(module, chosen)
        drop_unused(module, {str(source.target) for one in chosen for source in one.sources})
        after = set(module.graph.nodes)
        context.record(folded=len(chosen), nodes=sum(node not in after for node in before))
        context.details["folded"] = paths
        return module

    def _choose(self, module: GraphModule, context: PassContext) -> list[Constant]:
        """Return the results that are worth storing, in the order of the graph."""
        constant = constant_nodes(module)
        ends = frontier(module.graph, constant)
        budget = Budget(module, read_without(module, ends), self.growth)
        expressions = Expressions(module)
        known: dict[int, Constant] = {}
        chosen: dict[Node, Constant] = {}
        waiting = ends[::-1]
        while waiting:
            node = waiting.pop()
            number = expressions.number(node)
            found = known[number] if number in known else computed(module, node, ends)
            if node in chosen or found.is_view or found.value.numel() == 0:
                continue
            if number in known or budget.takes(found):
                known[number] = found
                chosen[node] = replace(found, node=node)
            else:
                waiting += reversed(tensor_inputs(node))
        for grown in dict.fromkeys(budget.refused.values()):
            names = [f"%{node.name}" for node in ends if budget.refused.get(node) == grown]
            if names:
                context.note(f"{listing(names)}: left alone, it takes {grown:,} bytes more than what it is made of")
        return without_shared(module, [chosen[node] for node in sorted(chosen)], context)


class Budget:
    """Decides which results are not too large for what they replace; each replaced tensor counts once.

    Args:
        read: ids of tensors that stay, whatever is stored.
        growth: most bytes by which a result may exceed what it replaces.
    """

    def __init__(self, module: GraphModule, read: set[int], growth: int) -> None:
        self.module = module
        self.spoken_for = set(read)
        self.growth = growth
        self.refused: dict[Node, int] = {}

    def takes(self, found: Constant) -> bool:
        """Whether to store `found`: not what repeats its own memory, nor what is too large, which `refused` tells."""
        replaced = {id(one): one.nbytes for one in tensors_of(self.module, found) if id(one) not in self.spoken_for}
        grown = found.value.nbytes - sum(replaced.values())
        if found.repeats:
            return False
        if grown > self.growth:
            self.refused[found.node] = grown
            return False
        self.spoken_for |= set(replaced)
        return True


def tensors_of(module: GraphModule, constant: Constant) -> list[torch.Tensor]:
    """Return the stored tensors that `constant` is computed from, tied ones once."""
    found = {id(tensor): tensor for one in constant.sources if (tensor := tensor_of(module, one)) is not None}
    return list(found.values())


def without_shared(module: GraphModule, chosen: list[Constant], context: PassContext) -> list[Constant]:
    """Return `chosen` without the results of trainable parameters that are read elsewhere too."""
    while True:
        read = read_without(module, (one.node for one in chosen))
        shared = [
            one
            for one in chosen
            if one.trainable and any(tensor.requires_grad and id(tensor) in read for tensor in tensors_of(module, one))
        ]
        if not shared:
            return chosen
        for one in shared:
            context.note(f"%{one.node.name}: left alone, a parameter that it is computed from is read elsewhere too")
        chosen = [one for one in chosen if one not in shared]


def store(module: GraphModule, chosen: list[Constant]) -> dict[str, str]:
    """Let stored tensors stand for the nodes of `chosen`; return the path for every node.

    Nodes that compute the same of the same tensors share one, so that what was tied stays tied.
    """
    read = read_without(module, (one.node for one in chosen))
    expressions = Expressions(module)
    numbers = [expressions.number(one.node) for one in chosen]
    stored: dict[int, Node] = {}
    paths: dict[str, str] = {}
    for one, number in zip(chosen, numbers, strict=True):
        if number not in stored:
            heir = predecessor(module, one, read)
            name = plain_name(one)
            if heir is None or name is not None:
                stored[number] = add(module, one, name or own_name(module, one))
            else:
                stored[number] = take_over(module, one, heir)
            read.add(id(tensor_of(module, stored[number])))
        one.node.replace_all_uses_with(stored[number])
        paths[one.node.name] = str(stored[number].target)
    return paths


def predecessor(module: GraphModule, constant: Constant, read: set[int]) -> Node | None:
    """Return the only parameter of the result's shape that nothing else reads, whose name it takes."""
    fitting = {
        id(tensor): source
        for source in constant.sources
        if isinstance(tensor := tensor_of(module, source), torch.nn.Parameter)
        and tensor.shape == constant.value.shape
        and id(tensor) not in read
    }
    floating = constant.value.is_floating_point() or constant.value.is_complex()
    return next(iter(fitting.values())) if len(fitting) == 1 and floating else None


def take_over(module: GraphModule, constant: Constant, source: Node) -> Node:
    """Put the result in the place of the parameter that `source` reads, under all of its names."""
    set_tensor(module, str(source.target), torch.nn.Parameter(constant.value, requires_grad=constant.trainable))
    source.meta["val"] = constant.node.meta["val"]
    return source


def plain_name(constant: Constant) -> str | None:
    """Return `linear.weight` for what `torch.nn.utils.parametrizations` computes under that name, else None."""
    paths = [str(source.target) for source in constant.sources]
    found = {re.sub(r"(^|\.)parametrizations\.(\w+)\.(original\d*|\d+\..*)$", r"\1\2", path) for path in paths}
    return found.pop() if len(found) == 1 and not found & set(paths) else None


def own_name(module: GraphModule, constant: Constant) -> str:
    """Return a name after the first parameter that the result is made of, after a buffer where there is none."""
    parameters = [one for one in constant.sources if isinstance(tensor_of(module, one), torch.nn.Parameter)]
    named = [*parameters, *constant.sources]
    return f"{named[0].target}_folded" if named else f"folded_{constant.node.name}"


def add(module: GraphModule, constant: Constant, name: str) -> Node:
    """Put the result under a free name like `name`: a parameter if it is made of one, else a buffer."""
    made, tensors = constant.value, tensors_of(module, constant)
    floating = made.is_floating_point() or made.is_complex()
    if floating and any(isinstance(tensor, torch.nn.Parameter) for tensor in tensors):
        made = torch.nn.Parameter(made, requires_grad=constant.trainable)
    persistent = any(is_persistent(module, str(source.target)) for source in constant.sources)
    node = add_tensor(module, name, made, constant.node, persistent=persistent)
    node.meta["val"] = constant.node.meta["val"]
    return node
