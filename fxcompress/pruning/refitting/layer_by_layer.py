"""Re-fitting the layers of a pruned graph one after the other, beside a run of the graph as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.calibration.lockstep import Lockstep
from fxcompress.distributed import Share, merged_row
from fxcompress.graph.tensors import Sources, attribute, named_tensors
from fxcompress.pruning.refitting.fitted_bias import FittedBias
from fxcompress.pruning.refitting.least_squares import Fit, Moments, best_fit
from fxcompress.pruning.removing.history import kept_since
from fxcompress.weights.layer_rows import Layer, drawn_rows, layer_of, rows_of_batch


@dataclass(frozen=True)
class Task:
    """A layer to fit.

    Attributes:
        layer: in the pruned graph.
        target: the node of the earlier graph whose output it should give.
        kept: the channels of that output that are left, None for all.
    """

    layer: Layer
    target: Node
    kept: list[int] | None


@dataclass(frozen=True)
class Settings:
    """How to fit: rows a layer, the smallest ridge, whether biases are added, and the source of random numbers."""

    samples: int
    damping: float
    bias: bool
    generator: torch.Generator


def tasks_of(module: GraphModule, before: GraphModule, nodes: Iterable[Node], *, every: bool) -> dict[Node, Task | str]:
    """Return the layers among `nodes` that read fewer channels than in `before`, or why one cannot be fitted.

    Args:
        every: take all layers, whatever they read.
    """
    sources, earlier = Sources(module), {node.name: node for node in before.graph.nodes}
    names = {node.name for node in module.graph.nodes}
    shapes = {path: tensor.shape for path, tensor in named_tensors(before)}
    found: dict[Node, Task | str] = {}
    for node in nodes:
        layer = layer_of(module, sources, node)
        if layer is None or (isinstance(layer, str) and not every and not _touched(module, shapes, node)):
            continue
        if isinstance(layer, str) or every or _lost(module, shapes, layer):
            found[node] = layer if isinstance(layer, str) else _task(module, before, layer, earlier, names)
    return found


def _touched(module: GraphModule, shapes: Mapping[str, torch.Size], node: Node) -> bool:
    """Whether any stored tensor that a call reads has another shape than before."""
    paths = [str(one.target) for one in node.all_input_nodes if one.op == "get_attr"]
    return any(attribute(module, path).shape != shapes.get(path) for path in paths)


def _lost(module: GraphModule, shapes: Mapping[str, torch.Size], layer: Layer) -> bool:
    shape = shapes.get(layer.path)
    return shape is None or attribute(module, layer.path).shape[layer.input_dim] != shape[layer.input_dim]


def _task(
    module: GraphModule, before: GraphModule, layer: Layer, earlier: Mapping[str, Node], names: set[str]
) -> Task | str:
    node = earlier.get(layer.node.name)
    if node is None or layer.path not in dict(named_tensors(before)):
        return "it is not in the graph before the first pass"
    kept = kept_since(before, module, layer.path, layer.output_dim)
    target = _with_folded(node, names)
    size = target.meta["val"].shape[layer.channel_axis]
    if (size if kept is None else len(kept)) != layer.node.meta["val"].shape[layer.channel_axis]:
        return "which of its outputs are left is not known"
    return Task(layer, target, kept)


def _with_folded(node: Node, names: set[str]) -> Node:
    """Return `node`, or what its readers now read in its place: the last of the calls behind it that are gone."""
    while len(node.users) == 1:
        (user,) = node.users
        if user.op == "output" or user.name in names or _sizes(user) != _sizes(node):
            break
        node = user
    return node


def _sizes(node: Node) -> tuple[str, ...] | None:
    """Return the sizes of what a node gives as text, dynamic ones by their symbols; None where it is no tensor."""
    value = node.meta.get("val")
    return tuple(map(str, value.shape)) if isinstance(value, torch.Tensor) else None


def refit(
    module: GraphModule,
    before: GraphModule,
    tasks: Mapping[Node, Task],
    batches: tuple[Share[list[Any]], Share[list[Any]]],
    settings: Settings,
) -> dict[Node, Fit | str]:
    """Fit the layers of `tasks` in the order of the graph, each on what the layers before it, fitted, give.

    Both graphs are run once, side by side.

    Args:
        batches: for each of our batches the values of the placeholders, of `module` and of `before`. Where several
            processes share the work, the moments are those of the batches of all.
    """
    ours = Lockstep(module, batches[0])
    theirs = Lockstep(before, batches[1], [task.target for task in tasks.values()])
    sources = Sources(module)
    outcomes: dict[Node, Fit | str] = {}
    for node in [node for node in module.graph.nodes if node.op != "output"]:
        if node in tasks:
            task = tasks[node]
            bias = FittedBias(module, sources, task.layer, make=settings.bias)
            given = Share(tuple(ours.values(task.layer.source)), ours.share.first, ours.share.count)
            wanted = theirs.take(task.target)
            outcomes[node] = fit = _refit_layer(module, task, given, wanted, settings, bias)
            if isinstance(fit, Fit) and fit.weight is not None:
                made = _store(module, task.layer, fit.weight, bias)
                if made is not None:
                    ours.step(made)
        ours.step(node)
    return outcomes


def _refit_layer(
    module: GraphModule,
    task: Task,
    given: Share[torch.Tensor],
    wanted: Sequence[torch.Tensor],
    settings: Settings,
    bias: FittedBias,
) -> Fit | str:
    """Fit one layer and store what it becomes."""
    layer = task.layer
    weight = attribute(module, layer.path)
    prior = bias.joined(layer.matrix(weight))
    learned, held_out = (Moments(prior.shape, weight.device) for _ in range(2))
    for x, y in _rows(task, weight.shape[2:], given, wanted, settings):
        inputs, targets = bias.inputs(x), bias.targets(y)
        split = x.shape[1] - x.shape[1] // 4
        learned.add(inputs[:, :split], targets[:, :split])
        held_out.add(inputs[:, split:], targets[:, split:])
    learned, held_out = merged_row([learned, held_out])
    if not (learned.rows and held_out.rows):
        return "there are too few calibration data"
    if not (learned.finite() and held_out.finite()):
        return "its inputs or its outputs are not finite"
    return best_fit(learned, held_out, prior, settings.damping)


def _rows(
    task: Task,
    kernel: torch.Size,
    given: Share[torch.Tensor],
    wanted: Sequence[torch.Tensor],
    settings: Settings,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield for every batch what the layer is given and should give, as `rows_of_batch` does."""
    drawn = drawn_rows(task.layer, given, kernel, -(-settings.samples // given.count), settings.generator)
    for value, target, rows in zip(given, wanted, drawn, strict=True):
        if task.kept is not None:
            target = target.index_select(task.layer.channel_axis, torch.tensor(task.kept, device=target.device))
        yield rows_of_batch(task.layer, value, target, kernel, rows)


def _store(module: GraphModule, layer: Layer, weight: torch.Tensor, bias: FittedBias) -> Node | None:
    """Store a fitted weight and its bias; return the node of a new bias."""
    matrix, made = bias.store(weight)
    stored = attribute(module, layer.path)
    with torch.no_grad():
        stored.copy_(layer.stored(matrix, stored))
    return made
