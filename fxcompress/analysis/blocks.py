"""Residual branches: what is computed from a value, added to that same value, and read by nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.flow import Flow, same_type, why_not
from fxcompress.graph.nodes import argument, is_call

aten = torch.ops.aten


@dataclass(frozen=True, eq=False)
class Block:
    """A part of the graph that can be replaced by what goes into it.

    Attributes:
        scope: the path of the module that a person would name it by; the name of `exit` where there is none.
        level: a `branch` is one term of a sum and goes by leaving the others; a `block` goes by `entry` for `exit`.
        entry: the value that it is computed from and added to.
        exit: the sum, or what the module makes of it; of the type of `entry`.
        nodes: the calls that go with it, in the order of the graph; nothing outside reads any but the last.
        parameters: paths of the tensors that its calls read, buffers among them.
        lasts: the last node of each of its branches, which is what is added to the rest.
    """

    scope: str
    level: Literal["branch", "block"]
    entry: Node
    exit: Node
    nodes: tuple[Node, ...]
    parameters: tuple[str, ...]
    lasts: tuple[Node, ...]


@dataclass(frozen=True)
class Branches:
    """The residual branches of a graph, none inside another, and the sums that look like one and why they are not."""

    found: tuple[Block, ...]
    refused: dict[Node, str] = field(default_factory=dict)


def residual_branches(module: GraphModule) -> Branches:
    """Return every term of a sum that is computed from another term and read by nothing but the sum.

    The two terms and the sum have one type. What else the term is computed from, such as a mask, may come from
    anywhere, as long as it does not come from the entry. Of branches inside each other the outer one counts, unless
    two in it are alike: then it is a frame around a row of blocks, and these count.
    """
    flow = Flow(module)
    found: list[Block] = []
    refused: dict[Node, str] = {}
    for node in module.graph.nodes:
        if is_sum(node) and node in flow.fed:
            for term in dict.fromkeys(node.all_input_nodes):
                outcome = branch_of(flow, node, term)
                if isinstance(outcome, Block):
                    found.append(outcome)
                elif outcome is not None:
                    refused.setdefault(top_of(node), outcome)
    for block in found:
        refused.pop(top_of(block.exit), None)
    return Branches(tuple(without_nesting(found)), refused)


def is_sum(node: Node) -> bool:
    """Whether `node` adds two floating-point tensors as they are."""
    if not is_call(node, aten.add.Tensor) or len(node.all_input_nodes) != 2 or argument(node, "alpha") != 1:
        return False
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def top_of(node: Node) -> Node:
    """Return the whole sum that the sum `node` is a part of."""
    while len(node.users) == 1 and is_sum(next(iter(node.users))):
        node = next(iter(node.users))
    return node


def terms_of(node: Node) -> list[Node]:
    """Return the terms of the sum `node`; a sum that is read elsewhere too is one term."""
    found, waiting = [], list(node.all_input_nodes) if is_sum(node) else [node]
    while waiting:
        one = waiting.pop()
        if is_sum(one) and len(one.users) == 1:
            waiting += one.all_input_nodes
        else:
            found.append(one)
    return found


def branch_of(flow: Flow, add: Node, last: Node) -> Block | str | None:
    """Return the branch that `add` adds as `last`, why there is none, or None where it is no residual at all."""
    (rest,) = (node for node in add.all_input_nodes if node is not last)
    inner = {last} if len(last.users) > 1 else set(terms_of(last))
    outer = [term for term in terms_of(top_of(add)) if term not in inner and term in flow.fed and same_type(term, add)]
    if not outer or not same_type(rest, add):
        return None
    behind = flow.behind(last, min(map(flow.place.__getitem__, outer)))
    entries = sorted((term for term in outer if term in behind), key=flow.place.__getitem__, reverse=True)
    outcomes = [branch_from(flow, entry, add, last) for entry in entries]
    # The nearest entry gives the smallest branch.
    return next((one for one in outcomes if isinstance(one, Block)), next((one for one in outcomes if one), None))


def branch_from(flow: Flow, entry: Node, add: Node, last: Node) -> Block | str | None:
    """Return what `branch_of` does for one term that may be the entry."""
    nodes = flow.region(entry, last)
    if not flow.has_weights(nodes):
        return None
    whole = add
    while entry not in terms_of(whole):
        (whole,) = whole.users
    if not same_type(add, whole):
        return None
    why = why_not(entry, nodes, {add}, whole)
    return why or Block(add.name, "branch", entry, whole, tuple(nodes), paths(flow, nodes), (last,))


def paths(flow: Flow, nodes: Iterable[Node]) -> tuple[str, ...]:
    """Return the paths of the tensors that `nodes` read."""
    return tuple(dict.fromkeys(str(node.target) for node in flow.tensors(nodes)))


def without_nesting(branches: Sequence[Block]) -> list[Block]:
    """Return those of `branches` that count, where some are inside others, in the order of the graph."""
    parents, children = nesting(branches)
    frames: set[Block] = set()
    for branch in sorted(branches, key=lambda one: len(one.nodes)):
        inner = children[branch]
        alike = len({calls_of(child) for child in inner}) < len(inner)
        # A part of a sum is no branch where the terms in it are.
        if alike or frames.intersection(inner) or any(child.exit is branch.exit for child in inner):
            frames.add(branch)
    # From the outside in: a child of a branch that counts, or that went with one, does not.
    counted: list[Block] = []
    gone: set[Block] = set()
    for branch in sorted(branches, key=lambda one: -len(one.nodes)):
        parent = parents[branch]
        if parent is not None and (parent in gone or parent not in frames):
            gone.add(branch)
        elif branch not in frames:
            counted.append(branch)
    return sorted(counted, key=lambda one: one.nodes[-1])


def calls_of(block: Block) -> tuple[str, ...]:
    """Return what `block` calls, in order: equal for two layers of one class."""
    return tuple(str(node.target) for node in block.nodes)


def nesting(branches: Sequence[Block]) -> tuple[dict[Block, Block | None], dict[Block, list[Block]]]:
    """Return for every branch the smallest one that holds it, and those that it holds itself."""
    parents: dict[Block, Block | None] = {}
    children: dict[Block, list[Block]] = {branch: [] for branch in branches}
    owner: dict[Node, Block] = {}
    for branch in sorted(branches, key=lambda one: -len(one.nodes)):
        parent = owner.get(branch.lasts[0])
        parents[branch] = parent
        if parent is not None:
            children[parent].append(branch)
        owner.update(dict.fromkeys(branch.nodes, branch))
    return parents, children
