"""Masks by what layers are given: layer by layer, behind the layers that are masked already."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.fx import GraphModule

from fxcompress.analysis.observe import buffers_restored
from fxcompress.calibration.gram import Gram
from fxcompress.calibration.lockstep import Lockstep
from fxcompress.calibration.run import values_of
from fxcompress.capturing import Inputs
from fxcompress.contract import PassContext
from fxcompress.graph.tensors import Sources, attribute
from fxcompress.quantizing.evidence import Evidence
from fxcompress.quantizing.gptq import damped
from fxcompress.sparsity.choosing import Choice, behind, kept, kept_of_one, smallest_few, smallest_few_of_rows
from fxcompress.sparsity.patterns import Blocks, KeepOf
from fxcompress.sparsity.rows import from_rows, rows_of
from fxcompress.sparsity.sparsegpt import Chooser, saliencies, sparsegpt
from fxcompress.text import listing
from fxcompress.weights import Weight
from fxcompress.weights.layer_rows import Layer, layer_of


@dataclass(frozen=True)
class ByData:
    """How to mask by data.

    Attributes:
        how: `wanda` or `sparsegpt`.
        samples: rows of inputs that a layer's moments are summed up over, at most.
        damping: see `gptq.damped`.
    """

    how: Literal["wanda", "sparsegpt"]
    samples: int
    damping: float


@dataclass(frozen=True)
class Masked:
    """What becomes of a weight: bool rows of what is kept, and the weight's new rows; None where it stays as it is."""

    keep: torch.Tensor
    rows: torch.Tensor | None = None


# From a weight, its layer and the moments of the layer's inputs to what becomes of it; None leaves it for now.
Visit = Callable[[Weight, Layer, Gram], Masked | None]


def masked_by_data(
    module: GraphModule,
    weights: Sequence[Weight],
    before: Mapping[str, torch.Tensor],
    batches: Sequence[Inputs],
    choice: Choice,
    settings: ByData,
    context: PassContext,
) -> list[Masked]:
    """Return what becomes of each of `weights`; `module` is left as it is.

    The batches run through a copy of the graph, node by node and all at once. A weight is masked when its layer is
    reached, so that its inputs are those that the layers before it, masked, give; only where weights are ranked
    together, their scores are those behind layers that are not masked.

    Args:
        before: rows of what is kept so far, for each weight by its path.

    Raises:
        InputError: a batch does not fit, or makes values that are not finite.
    """
    layers = layers_of(module, weights, context)
    rest = [weight for weight in weights if weight.path not in layers]
    walk = _Walk(module, layers, {weight.path: weight for weight in weights}, batches, settings, context)
    if choice.scope == "global" and not isinstance(choice.pattern, KeepOf):
        chosen = _ranked_together(walk, weights, rest, before, choice, settings)
        if settings.how == "wanda":
            return [Masked(chosen[weight.path]) for weight in weights]
        found = walk.visit(lambda weight, layer, gram: _fixed(weight, layer, gram, chosen[weight.path], settings))
        return [found.get(weight.path) or Masked(chosen[weight.path]) for weight in weights]
    found = {
        weight.path: Masked(kept_of_one(_scores(weight, None, before, choice, settings), choice)) for weight in rest
    }
    for weight in rest:
        walk.put(weight, found[weight.path])
    found |= walk.visit(lambda weight, layer, gram: _one(weight, layer, gram, before, choice, settings))
    return [
        found.get(weight.path) or Masked(kept_of_one(_scores(weight, None, before, choice, settings), choice))
        for weight in weights
    ]


def layers_of(module: GraphModule, weights: Sequence[Weight], context: PassContext) -> dict[str, Layer]:
    """Return by their paths the layers of the weights that can be masked by data; the others are named in a note."""
    sources, found, left = Sources(module), dict[str, Layer](), dict[str, list[str]]()
    for weight in weights:
        layer = layer_of(module, sources, weight.readers[0]) if len(weight.readers) == 1 else "the weight is shared"
        if isinstance(layer, Layer) and layer.path == weight.path:
            found[weight.path] = layer
        else:
            left.setdefault(layer if isinstance(layer, str) else "no linear or convolution", []).append(weight.path)
    for why, paths in left.items():
        context.note(f"{listing(paths)}: ranked by magnitude, {why}")
    return found


class _Walk:
    """Runs of a copy of the graph, in which weights are masked when they are reached."""

    def __init__(
        self,
        module: GraphModule,
        layers: Mapping[str, Layer],
        weights: Mapping[str, Weight],
        batches: Sequence[Inputs],
        settings: ByData,
        context: PassContext,
    ) -> None:
        self.ours, self.layers, self.weights = copy.deepcopy(module), layers, weights
        self.values, self.settings, self.context = values_of(module, batches), settings, context

    def visit(self, visit: Visit) -> dict[str, Masked]:
        """Run the graph once, and return what `visit` made of the weights that the data reach."""
        names = {layer.node.name: path for path, layer in self.layers.items()}
        rows = Evidence(
            self.layers.values(), Lockstep(self.ours, self.values), None, self.settings.samples, self.context
        )
        found, unseen = dict[str, Masked](), list[str]()
        with torch.no_grad(), buffers_restored(self.ours):
            for node in [node for node in self.ours.graph.nodes if node.op != "output"]:
                if node.name in names:
                    path = names[node.name]
                    gram = rows.of(node)
                    unseen += [] if gram.count else [path]
                    made = visit(self.weights[path], self.layers[path], gram) if gram.count else None
                    if made is not None:
                        found[path] = made
                        self.put(self.weights[path], made)
                rows.ours.step(node)
        if unseen:
            self.context.note(
                f"{listing(unseen)}: ranked by magnitude, no row of the calibration data reaches the layer"
            )
        return found

    def put(self, weight: Weight, made: Masked) -> None:
        """Write into our copy what becomes of a weight."""
        with torch.no_grad():
            held = attribute(self.ours, weight.path)
            if made.rows is not None:
                held.copy_(from_rows(weight, made.rows))
            held.masked_fill_(~from_rows(weight, made.keep).to(held.device), 0)


def _one(
    weight: Weight, layer: Layer, gram: Gram, before: Mapping[str, torch.Tensor], choice: Choice, settings: ByData
) -> Masked:
    """Return what becomes of a weight that is ranked by itself."""
    if settings.how == "wanda" or isinstance(choice.pattern, Blocks):
        keep = kept_of_one(_scores(weight, (layer, gram), before, choice, settings), choice) & before[weight.path]
        return Masked(keep) if settings.how == "wanda" else _fixed(weight, layer, gram, keep, settings)
    matrix, moments = _problem(weight, layer, gram, settings)
    return _joined(*sparsegpt(matrix, moments, _on_the_way(before[weight.path].view(matrix.shape), choice)))


def _fixed(weight: Weight, layer: Layer, gram: Gram, keep: torch.Tensor, settings: ByData) -> Masked:
    """Return a weight whose kept elements make up for the others, by SparseGPT."""
    matrix, moments = _problem(weight, layer, gram, settings)
    mask = keep.view(matrix.shape)
    chooser = Chooser(lambda costs, start: mask[:, :, start : start + costs.shape[2]])
    return _joined(*sparsegpt(matrix, moments, chooser))


def _on_the_way(before: torch.Tensor, choice: Choice) -> Chooser:
    """Return what chooses columns when they are reached; the counts of all columns so far are those of the share."""
    pattern, share = choice.pattern, choice.share

    def choose(costs: torch.Tensor, start: int) -> torch.Tensor:
        width, end = costs.shape[2], start + costs.shape[2]
        known = before[:, :, start:end]
        rows = costs.masked_fill(~known, -1.0).flatten(0, 1)
        if isinstance(pattern, KeepOf):
            keep = kept_of_one(rows, choice)
        elif choice.scope == "row":
            keep = ~smallest_few_of_rows(rows, round(share * end) - round(share * start))
        else:
            keep = ~smallest_few(rows, round(share * end * len(rows)) - round(share * start * len(rows)))
        return keep.view(*costs.shape[:2], width) & known

    return Chooser(choose, pattern.of) if isinstance(pattern, KeepOf) else Chooser(choose)


def _joined(matrix: torch.Tensor, keep: torch.Tensor) -> Masked:
    return Masked(keep.flatten(0, 1), matrix.flatten(0, 1))


def _problem(weight: Weight, layer: Layer, gram: Gram, settings: ByData) -> tuple[torch.Tensor, torch.Tensor]:
    """Return float64 [groups, outputs, width] of the weight, and the moments of its inputs."""
    assert gram.products is not None
    return layer.matrix(weight.tensor).mT, damped(gram.products, settings.damping)


def _ranked_together(
    walk: _Walk,
    weights: Sequence[Weight],
    rest: Sequence[Weight],
    before: Mapping[str, torch.Tensor],
    choice: Choice,
    settings: ByData,
) -> dict[str, torch.Tensor]:
    """Return what is kept of every weight by its path, all of them ranked together."""
    scores: dict[str, torch.Tensor] = {}

    def look(weight: Weight, layer: Layer, gram: Gram) -> None:
        scores[weight.path] = _scores(weight, (layer, gram), before, choice, settings)

    walk.visit(look)
    for weight in weights:
        if weight.path not in scores:
            scores[weight.path] = _scores(weight, None, before, choice, settings)
    found = kept([scores[weight.path] for weight in weights], choice)
    return {weight.path: keep & before[weight.path] for weight, keep in zip(weights, found, strict=True)}


def _scores(
    weight: Weight,
    seen: tuple[Layer, Gram] | None,
    before: Mapping[str, torch.Tensor],
    choice: Choice,
    settings: ByData,
) -> torch.Tensor:
    """Return float64 rows: what each element is worth; its magnitude where nothing was seen."""
    if seen is None:
        scores = rows_of(weight, weight.tensor.detach()).abs().double()
    elif settings.how == "wanda":
        layer, gram = seen
        assert gram.products is not None
        norms = gram.products.diagonal(dim1=1, dim2=2).sqrt()[:, None]
        scores = (layer.matrix(weight.tensor).mT.abs() * norms).flatten(0, 1)
    else:
        scores = saliencies(*_problem(weight, *seen, settings)).flatten(0, 1)
    return behind(scores, before[weight.path], choice.pattern)
