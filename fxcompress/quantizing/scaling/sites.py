"""Where scales of channels fold: what gives the channels, and all that read them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import argument, is_call
from fxcompress.graph.tensors import Sources, tensor_of
from fxcompress.quantizing.scaling.through import axis_behind
from fxcompress.weights.layer_rows import Layer, layer_of

aten = torch.ops.aten
_NORMS = {aten.layer_norm: -1, aten.rms_norm: -1, aten.batch_norm: 1, aten.group_norm: 1}


@dataclass
class Site:
    """Channels whose scale is free.

    Attributes:
        start: the call that gives them, a norm, a linear, a convolution or a product with a stored vector; where scales
            are put into the graph, the value that is multiplied.
        size: how many channels.
        divided: the stored tensors that take the scales off, each with its axis of channels.
        layers: the layers that put them on again.
    """

    start: Node
    size: int
    divided: list[tuple[str, int]]
    layers: list[Layer] = field(default_factory=list)

    @property
    def folds(self) -> bool:
        return bool(self.divided)


class Finder:
    """Finds the sites of a graph."""

    def __init__(self, module: GraphModule) -> None:
        self.module, self.sources = module, Sources(module)

    def site_of(self, start: Node) -> Site | str | None:
        """Return the site that `start` gives, why its channels cannot be scaled, or None where it gives none.

        All that read the channels, behind calls that scales pass through, have to be layers.
        """
        given = self._given(start)
        if given is None:
            return None
        axis, divided = given
        site = Site(start, int(start.meta["val"].shape[axis]), divided)
        why = self._follow(site, axis)
        if why is not None:
            return why
        return site if site.layers else None

    def layer(self, node: Node) -> Layer | None:
        found = layer_of(self.module, self.sources, node)
        return found if isinstance(found, Layer) else None

    def _given(self, node: Node) -> tuple[int, list[tuple[str, int]]] | None:
        """Return the axis of channels that `node` gives, and what is stored of their scale; None where that is not."""
        dims = node.meta["val"].dim() if isinstance(node.meta.get("val"), torch.Tensor) else 0
        layer = self.layer(node)
        if layer is not None:
            rows = [(layer.path, layer.output_dim)]
            return None if not self._own(layer.bias, node) else (dims + layer.channel_axis, rows + _path(layer.bias, 0))
        axis = next((axis for packet, axis in _NORMS.items() if is_call(node, packet)), None)
        if axis is not None:
            return self._norm(node, axis % dims)
        if is_call(node, aten.mul) and dims:
            stored = [one for one in node.args[:2] if isinstance(one, Node) and tensor_of(self.module, one) is not None]
            if len(stored) == 1 and stored[0].meta["val"].dim() == 1 and self._own(stored[0], node):
                whole = stored[0].meta["val"].shape[0] == node.meta["val"].shape[-1]
                return (dims - 1, _path(stored[0], 0)) if whole else None
        return None

    def _norm(self, node: Node, axis: int) -> tuple[int, list[tuple[str, int]]] | None:
        names = ("weight",) if is_call(node, aten.rms_norm) else ("weight", "bias")
        affine = [argument(node, name) for name in names]
        if is_call(node, aten.layer_norm, aten.rms_norm) and len(argument(node, "normalized_shape")) != 1:
            return None
        if affine[0] is None or not all(self._own(one, node) for one in affine):
            return None
        return axis, [row for one in affine for row in _path(one, 0)]

    def _own(self, source: Node | None, reader: Node) -> bool:
        """Whether a stored vector is there for one reader alone; an absent one is."""
        if source is None:
            return True
        tensor = tensor_of(self.module, source)
        floats = tensor is not None and tensor.is_floating_point()
        return floats and self.sources.readers(source) == {reader}

    def _follow(self, site: Site, axis: int) -> str | None:
        """Gather the layers that read the channels of `site`; return what hinders, None where nothing does."""
        places, waiting = {site.start: axis}, [site.start]
        while waiting:
            given = waiting.pop(0)
            for user in given.users:
                layer = self.layer(user)
                if layer is not None and self._reads_channels(layer, given, places[given]):
                    site.layers.append(layer)
                    continue
                behind = axis_behind(user, given, places[given])
                if behind is None and self._adds_stored(site, user, given, places[given]):
                    behind = places[given]
                if behind is None or user in places:
                    return f"%{user.name} reads it too"
                places[user] = behind
                waiting.append(user)
        return None

    def _reads_channels(self, layer: Layer, given: Node, axis: int) -> bool:
        only = [one for one in layer.node.all_input_nodes if one is given] == [given] and layer.source is given
        return only and axis == given.meta["val"].dim() + layer.channel_axis

    def _adds_stored(self, site: Site, user: Node, given: Node, axis: int) -> bool:
        """Whether `user` adds a stored vector to the channels; it is scaled with them then."""
        if not is_call(user, aten.add) or user.args[0] is not given or argument(user, "alpha") != 1:
            return False
        other, behind = user.args[1], axis - given.meta["val"].dim()
        if not isinstance(other, Node) or user.meta["val"].shape != given.meta["val"].shape:
            return False
        if not self._own(other, user):
            return False
        dims = other.meta["val"].dim()
        if dims + behind < 0 or other.meta["val"].shape[behind] != site.size:
            return False
        site.divided += _path(other, dims + behind)
        return True


def _path(source: Node | None, axis: int) -> list[tuple[str, int]]:
    return [] if source is None else [(str(source.target), axis)]


def inserted_sites(finder: Finder, layers: Iterable[Layer]) -> list[Site]:
    """Return a site for each value that `layers` read, where a product in front of them takes the scales off."""
    found: dict[tuple[Node, int], Site] = {}
    for layer in layers:
        value = layer.source
        axis = value.meta["val"].dim() + layer.channel_axis
        if value.op != "get_attr":
            site = found.setdefault((value, axis), Site(value, int(value.meta["val"].shape[axis]), []))
            site.layers.append(layer)
    return list(found.values())
