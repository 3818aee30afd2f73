"""Moments of what layers are given, gathered when a graph that is being rounded reaches them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch.fx import Node

from fxcompress.calibration.gram import Gram
from fxcompress.calibration.lockstep import Lockstep
from fxcompress.calibration.run import numbered
from fxcompress.contract import PassContext
from fxcompress.distributed import Share, merged, together
from fxcompress.errors import InputError
from fxcompress.graph.nodes import argument, is_call
from fxcompress.graph.operators import CONVOLUTIONS
from fxcompress.weights.layer_rows import Layer, chosen_places, drawn_rows, places_of, rows_at

Geometry = tuple[object, ...]


class Evidence:
    """Moments of the inputs of layers; those that read one value in the same way share them.

    Args:
        layers: of the graph as it was, in its order.
        ours: a run of the graph that is being rounded, whose nodes have the same names.
        before: a run of the graph as it was, that keeps the inputs of `layers`; None where they are not needed.
        samples: rows that a layer's moments are summed up over, at most.
    """

    def __init__(
        self, layers: Iterable[Layer], ours: Lockstep, before: Lockstep | None, samples: int, context: PassContext
    ) -> None:
        self.layers = {layer.node.name: layer for layer in layers}
        self.ours, self.before, self.samples, self.context = ours, before, samples, context
        self.waiting = Counter(layer.source for layer in self.layers.values())
        self.found: dict[Node, dict[Geometry, Gram]] = {}

    def of(self, node: Node) -> Gram:
        """Return the moments of what the layer `node` of the graph that is being rounded is given."""
        layer = self.layers[node.name]
        known = self.found.setdefault(layer.source, {})
        geometry = geometry_of(layer)
        if geometry not in known:
            known[geometry] = self._gathered(layer, node)
        self.waiting[layer.source] -= 1
        if not self.waiting[layer.source]:
            del self.found[layer.source]
            if self.before is not None:
                self.before.take(layer.source)
        return known[geometry]

    def _gathered(self, layer: Layer, node: Node) -> Gram:
        gram, share = Gram(), self.ours.share
        given = tuple(self.ours.values(Layer(node, layer.path).source))
        beside: list[torch.Tensor | None] = [None] * len(given)
        if self.before is not None:
            self.before.until(layer.source)
            beside = list(self.before.values(layer.source))
        kernel = argument(layer.node, "weight").meta["val"].shape[2:] if layer.input_dim else torch.Size()
        seen = Share(given, share.first, share.count)
        drawn = drawn_rows(layer, seen, kernel, -(-self.samples // share.count), self.context.generator())
        with together():
            for (index, one), other, rows in zip(seen.numbered(), beside, drawn, strict=True):
                places = places_of(layer, one, kernel)
                chosen = chosen_places(layer, places, rows)
                old = None if other is None else rows_at(layer, places_of(layer, other, kernel), chosen)
                with numbered(index), of_input(node):
                    gram.update(rows_at(layer, places, chosen), old)
        return merged(gram)


@contextmanager
def of_input(node: Node) -> Iterator[None]:
    """Let an InputError from within name the layer."""
    try:
        yield
    except InputError as error:
        raise InputError(f"the input of %{node.name}: {error.message}", hint=error.hint) from error


def geometry_of(layer: Layer) -> Geometry:
    """Return what the rows of a layer depend on beside its input."""
    if not is_call(layer.node, *CONVOLUTIONS):
        return ()
    numbers = (str(argument(layer.node, name)) for name in ("stride", "padding", "dilation", "groups"))
    return (*argument(layer.node, "weight").meta["val"].shape[2:], *numbers)
