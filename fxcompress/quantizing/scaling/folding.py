"""Taking scales off the channels of a site, and putting them on the weights of the layers that read them."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import set_argument
from fxcompress.graph.tensors import add_tensor, attribute
from fxcompress.quantizing.nodes import Inserter
from fxcompress.quantizing.scaling.sites import Site
from fxcompress.weights.layer_rows import Layer, input_name

aten = torch.ops.aten


def fold(module: GraphModule, site: Site, scales: torch.Tensor) -> None:
    """Divide the channels of `site` by positive `scales`, float64 [channels]; results change by rounding alone."""
    if site.folds:
        _divide(module, site, scales)
    else:
        insert(module, site, scales)
    for layer in site.layers:
        weight = attribute(module, layer.path)
        with torch.no_grad():
            weight.copy_(layer.stored(layer.matrix(weight) * spread(layer, weight, scales), weight))


def _divide(module: GraphModule, site: Site, scales: torch.Tensor) -> None:
    for path, axis in site.divided:
        tensor = attribute(module, path)
        shape = [-1 if dim == axis else 1 for dim in range(tensor.dim())]
        with torch.no_grad():
            tensor.copy_((tensor.double() / scales.view(shape)).to(tensor.dtype))


def insert(module: GraphModule, site: Site, scales: torch.Tensor) -> Node:
    """Let the layers of `site` read a product of the value and a buffer of the inverse scales."""
    layer = min(site.layers, key=lambda one: one.node)
    value = site.start.meta["val"]
    shape = [-1, *[1] * (-layer.channel_axis - 1)]
    path = f"{layer.path.rpartition('.')[0]}.smoothing".lstrip(".")
    stored = add_tensor(module, path, (1 / scales).to(value.dtype).view(shape), layer.node)
    made = Inserter(module, layer.node).call(aten.mul.Tensor, site.start, stored, name=f"{site.start.name}_smoothed")
    made.meta["val"] = value
    for one in site.layers:
        set_argument(one.node, input_name(one.node), made)
    return made


def spread(layer: Layer, weight: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Return float64 [channels] as [groups, width, 1], beside what `Layer.matrix` gives."""
    return scales.double().view(layer.groups, -1, 1).repeat_interleave(_kernel(layer, weight), 1)


def largest_weights(module: GraphModule, layer: Layer) -> torch.Tensor:
    """Return float64 [channels]: the largest magnitude of the weights that a channel of the input meets."""
    weight = attribute(module, layer.path)
    return layer.matrix(weight).abs().amax(2).view(-1, _kernel(layer, weight)).amax(1)


def _kernel(layer: Layer, weight: torch.Tensor) -> int:
    return weight.shape[2:].numel() if layer.input_dim else 1
