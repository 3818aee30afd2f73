"""Rounding weights by what their layers are given: layer by layer, behind the layers that are rounded already."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.fx import GraphModule

from fxcompress.analysis.observe import buffers_restored
from fxcompress.calibration.gram import Gram
from fxcompress.calibration.lockstep import Lockstep
from fxcompress.calibration.run import values_of
from fxcompress.calibration.saying import now_and_then
from fxcompress.capturing import Inputs
from fxcompress.contract import PassContext
from fxcompress.graph.tensors import Sources, attribute
from fxcompress.quantizing.descent import descend
from fxcompress.quantizing.evidence import Evidence
from fxcompress.quantizing.gptq import damped, gptq
from fxcompress.quantizing.grid import closest, grid_of
from fxcompress.quantizing.no_worse import no_worse
from fxcompress.quantizing.rounding import Rounded, finite, floats_of
from fxcompress.schemes import Scheme
from fxcompress.text import listing
from fxcompress.weights import Weight
from fxcompress.weights.layer_rows import Layer, layer_of

# How strongly a weight that is fitted is held where it was, as a share of the mean square of its inputs: on MiniLM a
# tenth and ten times of it are both worse.
PULL = 0.1


@dataclass(frozen=True)
class ByData:
    """How to round by data.

    Attributes:
        how: `gptq`, or `learned`: what is rounded is fitted first, and improved by coordinate descent after.
        samples: rows of inputs that a layer's moments are summed up over, at most.
        damping: see `gptq.damped`.
    """

    how: Literal["gptq", "learned"]
    samples: int
    damping: float


@dataclass(frozen=True)
class Task:
    """A weight to round, and its one layer."""

    weight: Weight
    layer: Layer
    scheme: Scheme


def tasks_of(module: GraphModule, chosen: Iterable[tuple[Weight, Scheme]], context: PassContext) -> dict[str, Task]:
    """Return by their layers' names the weights that can be rounded by data; the others are named in a note."""
    sources, found, left = Sources(module), dict[str, Task](), dict[str, list[str]]()
    for weight, scheme in chosen:
        layer = layer_of(module, sources, weight.readers[0]) if len(weight.readers) == 1 else "the weight is shared"
        if isinstance(layer, Layer) and layer.path == weight.path:
            found[layer.node.name] = Task(weight, layer, scheme)
        else:
            left.setdefault(layer if isinstance(layer, str) else "no linear or convolution", []).append(weight.path)
    for why, paths in left.items():
        context.note(f"{listing(paths)}: rounded to nearest, {why}")
    return found


def round_by_data(
    module: GraphModule,
    chosen: Iterable[tuple[Weight, Scheme]],
    batches: Sequence[Inputs],
    settings: ByData,
    context: PassContext,
) -> dict[str, Rounded]:
    """Return the weights that become integers by their paths; `module` is left as it is.

    The batches run through a copy of the graph, node by node and all at once. A weight is rounded when its layer is
    reached, so that its inputs are those that the layers before it, rounded, give. Weights that cannot be rounded by
    data are rounded to nearest before, in the ranges of least squared error.

    Raises:
        InputError: a batch does not fit, or makes values that are not finite.
    """
    integral = [(weight, scheme) for weight, scheme in chosen if scheme.format in ("int", "pow2")]
    if others := [weight.path for weight, scheme in chosen if scheme.format not in ("int", "pow2")]:
        context.note(f"{listing(others)}: rounded to nearest, the formats of floats have no steps to choose from")
    tasks = tasks_of(module, integral, context)
    by_data = {task.weight.path for task in tasks.values()}
    found = {weight.path: closest(weight, scheme) for weight, scheme in integral if weight.path not in by_data}
    if not tasks:
        return found
    ours = copy.deepcopy(module)
    values = values_of(module, batches)
    beside = Lockstep(module, values, [task.layer.source for task in tasks.values()]) if learned(settings) else None
    rows = Evidence([task.layer for task in tasks.values()], Lockstep(ours, values), beside, settings.samples, context)
    with torch.no_grad(), buffers_restored(ours), buffers_restored(module):
        for weight, scheme in integral:
            if weight.path not in by_data:
                attribute(ours, weight.path).copy_(floats_of(weight, found[weight.path], scheme))
        return found | round_layers(ours, tasks, rows, settings, context)


def round_layers(
    ours: GraphModule, tasks: dict[str, Task], rows: Evidence, settings: ByData, context: PassContext
) -> dict[str, Rounded]:
    """Run `ours`, whose layers get rounded weights when they are reached; return these by their paths."""
    found, unseen = dict[str, Rounded](), list[str]()
    nodes = [node for node in ours.graph.nodes if node.op != "output"]
    for node in now_and_then(nodes, "rounding by data, nodes", context.say, len(nodes)):
        if node.name in tasks:
            task, gram = tasks[node.name], rows.of(node)
            unseen += [] if gram.count else [task.weight.path]
            made = rounded(task, gram, settings) if gram.count else closest(task.weight, task.scheme)
            attribute(ours, task.weight.path).copy_(floats_of(task.weight, made, task.scheme))
            found[task.weight.path] = made
        rows.ours.step(node)
    if unseen:
        context.note(f"{listing(unseen)}: rounded to nearest, no row of the calibration data reaches the layer")
    return found


def learned(settings: ByData) -> bool:
    return settings.how == "learned"


def rounded(task: Task, gram: Gram, settings: ByData) -> Rounded:
    """Return the integers of a weight whose layer is given what `gram` has seen."""
    assert gram.products is not None
    matrix = task.layer.matrix(finite(task.weight)).mT
    if gram.crossed is not None:
        matrix = fitted(matrix, gram.products, gram.crossed)
    grid = grid_of(task.weight, task.layer, matrix, task.scheme, gram.products.diagonal(dim1=1, dim2=2))
    moments = damped(gram.products, settings.damping)
    integers = gptq(matrix, moments, grid)
    if learned(settings):
        integers = descend(matrix, moments, grid, integers)
    return no_worse(task.weight, task.layer, task.scheme, gram, grid.rounded(integers, task.weight, task.layer))


def fitted(matrix: torch.Tensor, products: torch.Tensor, crossed: torch.Tensor) -> torch.Tensor:
    """Return the weight that gives, of the inputs X of now, most nearly what `matrix` gave of the inputs Y of before.

    Minimises |X V - Y W|^2 + r |V - W|^2, where r is `PULL` times the mean diagonal of X'X. To round that in place of W
    is Li et al., GPTAQ: Efficient Finetuning-Free Quantization for Asymmetric Calibration, 2025, in closed form.

    Args:
        matrix: float64 [groups, outputs, width].
        products, crossed: float64 [groups, width, width], X'X and X'Y.
    """
    factor = torch.linalg.cholesky(damped(products, PULL))
    return matrix + torch.cholesky_solve((crossed - products) @ matrix.mT, factor).mT
