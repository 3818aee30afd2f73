"""Random graphs edited in known ways: the diff finds those edits and no more, with the names kept and with new ones."""

from __future__ import annotations

import copy
import random

import torch
from drafts import aten, counts
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.fx import Graph, GraphModule

from fxcompress.inspect import diff_snapshots, snapshot

UNARY = (aten.relu.default, aten.tanh.default, aten.sin.default)
NEW = (aten.sigmoid.default, aten.silu.default)


def random_graph(rng, size):
    """A graph of `size` calls: chains and branches of linears, activations, sums and products."""
    root, graph = torch.nn.Module(), Graph()
    values = [graph.placeholder("x"), graph.placeholder("y")]
    for number in range(size):
        x = values[-1] if rng.random() < 0.7 else rng.choice(values)
        kind = rng.choice(["linear", "unary", "unary", "add", "mul"])
        if kind == "linear":
            root.add_module(f"layer{number}", torch.nn.Linear(4, 4, bias=False))
            values.append(graph.call_function(aten.linear.default, (x, graph.get_attr(f"layer{number}.weight"))))
        elif kind == "unary":
            values.append(graph.call_function(rng.choice(UNARY), (x,)))
        elif kind == "add":
            values.append(graph.call_function(aten.add.Tensor, (x, rng.choice(values))))
        else:
            values.append(graph.call_function(aten.mul.Tensor, (x, rng.choice([0.5, 2.0, 3.0]))))
    graph.output((values[-1], values[-3]))
    return GraphModule(root, graph)


def insert(rng, module, node):
    with module.graph.inserting_after(node):
        made = module.graph.call_function(rng.choice(NEW), (node,))
    node.replace_all_uses_with(made, delete_user_cb=lambda user: user is not made)
    return (0, 1, 0), {node, made}


def remove(rng, module, node):
    if node.target not in UNARY:
        return None
    node.replace_all_uses_with(node.args[0])
    module.graph.erase_node(node)
    return (1, 0, 0), {node}


def change_literal(rng, module, node):
    if node.target is not aten.mul.Tensor:
        return None
    node.update_arg(1, 7.0)
    return (0, 0, 1), {node}


def change_values(rng, module, node):
    if node.target is not aten.linear.default:
        return None
    with torch.no_grad():
        module.get_parameter(node.args[1].target).add_(rng.random() + 1)
    return (0, 0, 1), {node}


def read_another(rng, module, node):
    if node.target is not aten.add.Tensor:
        return None
    earlier = []
    for other in module.graph.nodes:
        if other is node:
            break
        if other.op != "get_attr" and other not in node.args and other.target not in NEW:
            earlier.append(other)
    if not earlier:
        return None
    node.update_arg(1, rng.choice(earlier))
    return (0, 0, 1), {node}


EDITS = (insert, remove, change_literal, change_values, read_another)


def edit(rng, module, count):
    """Edit different nodes; return the numbers of nodes removed, added and changed by it."""
    touched, expected = set(), [0, 0, 0]
    for _ in range(count):
        free = [node for node in module.graph.nodes if node.op == "call_function" and node not in touched]
        done = rng.choice(EDITS)(rng, module, rng.choice(free)) if free else None
        if done is not None:
            expected = [x + y for x, y in zip(expected, done[0], strict=True)]
            touched |= done[1]
    module.graph.lint()
    return tuple(expected)


def renamed(rng, module):
    """The same graph with other names of calls and parameters."""
    root, graph, copies = torch.nn.Module(), Graph(), {}
    for number, node in enumerate(module.graph.nodes):
        if node.op == "get_attr":
            root.register_parameter(f"p{number}", module.get_parameter(node.target))
            copies[node] = graph.get_attr(f"p{number}")
        else:
            copies[node] = graph.node_copy(node, lambda other: copies[other])
            if node.op == "call_function":
                copies[node]._rename(f"v{rng.randrange(10**9)}")
    return GraphModule(root, graph)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.integers(0, 10**9), st.sampled_from([5, 15, 40]), st.sampled_from([0, 1, 3, 6]), st.booleans())
def test_known_edits_are_found_and_no_more(seed, size, count, new_names):
    rng = random.Random(seed)
    module = random_graph(rng, size)
    before = snapshot(module)
    edited = copy.deepcopy(module)
    expected = edit(rng, edited, count)
    after = snapshot(renamed(rng, edited) if new_names else edited)
    diff = diff_snapshots(before, after)
    assert counts(diff) == expected
    assert diff.empty == (expected == (0, 0, 0))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**9), st.integers(0, 10**9), st.sampled_from([5, 15, 40]))
def test_any_two_graphs_are_aligned_one_to_one_and_in_order(seed, other, size):
    shots = [snapshot(random_graph(random.Random(number), size)) for number in (seed, other)]
    diff = diff_snapshots(*shots)
    assert sorted(e.before.name for e in diff.entries if e.before) == sorted(row.name for row in shots[0].rows)
    assert [e.after.name for e in diff.entries if e.after] == [row.name for row in shots[1].rows]
    assert diff.before.nodes - diff.removed + diff.added == diff.after.nodes
