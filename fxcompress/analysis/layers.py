"""Error and time of every layer, a layer being a scope: the path of a module, without the modules inside it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.fidelity import sqnr_db
from fxcompress.analysis.observe import may_write, observe
from fxcompress.capturing.inputs import Inputs
from fxcompress.graph.nodes import scopes


def layer_errors(before: GraphModule, after: GraphModule, inputs: Inputs) -> dict[str, float]:
    """Return how far each layer of `after` is from the same layer of `before`, on the same inputs.

    A scope is compared where both graphs have it and the last tensor it gives has one shape in both. Where the scopes
    that follow it in `before` are gone from `after`, they were folded into a neighbour: the scope is then compared
    with its own output and with theirs, and the nearest counts. Each graph is run once; the outputs of `before` that
    are compared are held meanwhile, each until its layer in `after` has run.

    Returns:
        scope -> signal-to-quantization-noise ratio in decibels, infinite where equal; in the order of `before`.

    Raises:
        InputError: the inputs do not fit a graph.
    """
    ends = last_nodes(after)
    waiting = {ends[path]: kept for path, kept in _references(before, inputs, ends).items()}
    places = {node: path for path, node in ends.items()}
    found: dict[str, float] = {}

    def compare(node: Node, value: Any, seconds: float) -> None:
        references = waiting.pop(node, ())
        ratios = [sqnr_db(reference, value) for reference in references if reference.shape == value.shape]
        if ratios:
            found[places[node]] = max(ratios)

    order = [places[node] for node in waiting]
    observe(after, inputs, compare)
    return {path: found[path] for path in order if path in found}


def _references(before: GraphModule, inputs: Inputs, remaining: Mapping[str, Node]) -> dict[str, list[torch.Tensor]]:
    """Return for every scope of `before` that is among `remaining` what its layer may give after the change."""
    places = scopes(before.graph)
    wanted = {
        path: _with_folded(node, places, remaining) for path, node in last_nodes(before).items() if path in remaining
    }
    kept = _outputs(before, inputs, {node for nodes in wanted.values() for node in nodes})
    return {path: [kept[node] for node in nodes if node in kept] for path, nodes in wanted.items()}


def _outputs(module: GraphModule, inputs: Inputs, wanted: set[Node]) -> dict[Node, torch.Tensor]:
    """Run `module` and return what the nodes `wanted` give, those that give a tensor."""
    kept: dict[Node, torch.Tensor] = {}
    # Only a copy is safe from what a later node writes in place.
    copied = any(may_write(node) for node in module.graph.nodes)

    def keep(node: Node, value: Any, seconds: float) -> None:
        if node in wanted and isinstance(value, torch.Tensor):
            kept[node] = value.clone() if copied else value

    observe(module, inputs, keep)
    return kept


def last_nodes(module: GraphModule) -> dict[str, Node]:
    """Return for every scope the last of its calls that gives a floating-point tensor, in the order of the graph."""
    found: dict[str, Node] = {}
    for node, path in scopes(module.graph).items():
        value = node.meta.get("val")
        if node.op == "call_function" and isinstance(value, torch.Tensor) and value.is_floating_point():
            found.pop(path, None)
            found[path] = node
    return found


def _with_folded(node: Node, places: Mapping[Node, str], remaining: Mapping[str, Node]) -> list[Node]:
    """Return `node` and the calls that follow it, one after the other, in scopes that are not among `remaining`."""
    found = [node]
    while len(node.users) == 1:
        node = next(iter(node.users))
        if node.op != "call_function" or places[node] in remaining:
            break
        found.append(node)
    return found


def layer_seconds(module: GraphModule, inputs: Inputs, *, runs: int = 5) -> dict[str, float]:
    """Return the seconds that each layer takes: the median of `runs` runs after one to warm up.

    Every call of the graph is timed by itself and its time belongs to its innermost scope. The sum is above the time
    of the module as a whole by the overhead of the clock; on a CUDA device every call is waited for.

    Raises:
        InputError: the inputs do not fit the graph.
    """
    places = scopes(module.graph)
    taken: dict[str, list[float]] = defaultdict(list)
    for run in range(runs + 1):
        seconds = _seconds_by_scope(module, inputs, places)
        for path in seconds if run else ():
            taken[path].append(seconds[path])
    return {path: statistics.median(times) for path, times in taken.items()}


def _seconds_by_scope(module: GraphModule, inputs: Inputs, places: Mapping[Node, str]) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)

    def add(node: Node, value: Any, seconds: float) -> None:
        if node.op == "call_function":
            found[places[node]] += seconds

    observe(module, inputs, add)
    return found
