"""Channels whose weights are all masked still give what their bias makes: a constant, which the next bias takes up."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.observe import observe
from fxcompress.capturing import Inputs
from fxcompress.graph.nodes import argument, is_call, set_argument
from fxcompress.graph.operators import CONVOLUTIONS
from fxcompress.graph.tensors import Sources, add_tensor, attribute, tensor_of
from fxcompress.weights.layer_rows import Layer, bias_name, layer_of, padding_of, spread

aten = torch.ops.aten
_POOLS = (aten.max_pool1d, aten.max_pool2d, aten.max_pool3d, aten.adaptive_max_pool1d, aten.adaptive_max_pool2d)
_MEANS = (aten.adaptive_avg_pool1d, aten.adaptive_avg_pool2d, aten.adaptive_avg_pool3d)


def move_constants(module: GraphModule, inputs: Inputs) -> int:
    """Let biases take up the constants that layers read from channels without weights; return how many there were.

    The columns that read such a channel become zero. Between the two layers stand only calls that work on every element
    by itself, batch norms, and pools. A convolution that pads sees zeros at the edges, so it takes up none.
    """
    sources = Sources(module)
    found: dict[Node, tuple[Layer, torch.Tensor]] = {}
    for node in module.graph.nodes:
        layer = layer_of(module, sources, node) if node.op == "call_function" else None
        if isinstance(layer, Layer) and not _pads(layer) and _takes_a_bias(module, sources, layer):
            constant = _constant(module, sources, layer.source, _read_axis(layer))
            if constant is not None and bool(constant.any()):
                found[node] = layer, constant
    values = _values(module, inputs, {layer.source for layer, _ in found.values()})
    return sum(_move(module, layer, constant, values[layer.source]) for layer, constant in found.values())


def _read_axis(layer: Layer) -> int:
    """Return the axis of channels in what a layer reads."""
    shape = layer.source.meta["val"].shape
    return 1 if is_call(layer.node, *CONVOLUTIONS) else len(shape) - 1


def _pads(layer: Layer) -> bool:
    if not is_call(layer.node, *CONVOLUTIONS):
        return False
    kernel = argument(layer.node, "weight").meta["val"].shape[2:]
    dilation = spread(argument(layer.node, "dilation"), len(kernel))
    return layer.groups != 1 or any(sum(pair) for pair in padding_of(layer.node, kernel, dilation))


def _takes_a_bias(module: GraphModule, sources: Sources, layer: Layer) -> bool:
    if layer.bias is None:
        return not is_call(layer.node, aten.addmm)
    return sources.readers(layer.bias) == {layer.node}


def _constant(module: GraphModule, sources: Sources, node: Node, axis: int) -> torch.Tensor | None:
    """Return bool [channels] of `axis` of what `node` gives: those that are one number, whatever the inputs are."""
    if node.op != "call_function" or not isinstance(node.meta.get("val"), torch.Tensor):
        return None
    layer = layer_of(module, sources, node)
    if isinstance(layer, Layer):
        gives = node.meta["val"].dim() + layer.channel_axis
        weight = attribute(module, layer.path).detach()
        return (weight.movedim(layer.output_dim, 0).flatten(1) == 0).all(1) if axis == gives else None
    before = [one for one in node.all_input_nodes if one.op != "get_attr"]
    if len(before) != 1 or not isinstance(before[0].meta.get("val"), torch.Tensor):
        return None
    if _keeps_constants(node):
        return _constant(module, sources, before[0], axis)
    return _through_shapes(module, sources, node, before[0], axis)


def _keeps_constants(node: Node) -> bool:
    """Whether a call gives a constant channel for one, in the same place."""
    if is_call(node, aten.batch_norm):
        return not argument(node, "training")
    if is_call(node, aten.dropout):
        return not argument(node, "train")
    if is_call(node, *_POOLS, *_MEANS, aten.clone, aten.contiguous):
        return True
    target = node.target
    alone = [one for one in node.all_input_nodes if isinstance(one.meta.get("val"), torch.Tensor)]
    random = isinstance(target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in target.tags
    return torch.Tag.pointwise in getattr(target, "tags", ()) and len(alone) == 1 and not random


def _through_shapes(module: GraphModule, sources: Sources, node: Node, before: Node, axis: int) -> torch.Tensor | None:
    """Go on where positions behind the channels are averaged, or become channels of their own."""
    given = before.meta["val"]
    if is_call(node, aten.mean) and axis == 1:
        dims = argument(node, "dim") if "dim" in str(node.target) else None
        behind = dims is not None and all(dim % given.dim() > 1 for dim in dims)
        return _constant(module, sources, before, 1) if behind else None
    if is_call(node, aten.flatten) and axis == 1 and argument(node, "start_dim") == 1:
        last = argument(node, "end_dim") % given.dim() == given.dim() - 1
        found = _constant(module, sources, before, 1) if last else None
        size = given.shape[2:].numel() if last else 1
        return None if found is None or not isinstance(size, int) else found.repeat_interleave(size)
    return None


def _values(module: GraphModule, inputs: Inputs, wanted: set[Node]) -> dict[Node, torch.Tensor]:
    kept: dict[Node, torch.Tensor] = {}

    def keep(node: Node, value: Any, seconds: float) -> None:
        if node in wanted:
            kept[node] = value.detach()

    if wanted:
        module.recompile()
        observe(module, inputs, keep)
    return kept


def _move(module: GraphModule, layer: Layer, constant: torch.Tensor, given: torch.Tensor) -> int:
    """Add what a layer makes of constant channels to its bias, and set the weights that read them to zero."""
    weight = attribute(module, layer.path)
    channels = given.movedim(_read_axis(layer), 0).flatten(1)[:, 0]
    columns = weight.detach().movedim((layer.output_dim, layer.input_dim), (0, 1))[..., None].flatten(2)
    used = constant & (columns != 0).any(2).any(0)
    if not used.any():
        return 0
    added = columns.double().sum(2)[:, used] @ channels.double()[used]
    _add_to_bias(module, layer, added.to(weight.dtype))
    with torch.no_grad():
        weight.index_fill_(layer.input_dim, used.nonzero().flatten(), 0)
    return int(used.sum())


def _add_to_bias(module: GraphModule, layer: Layer, added: torch.Tensor) -> None:
    held = tensor_of(module, layer.bias)
    if held is not None:
        with torch.no_grad():
            held.add_(added)
        return
    path = f"{layer.path.rpartition('.')[0]}.bias".lstrip(".")
    made = add_tensor(module, path, torch.nn.Parameter(added), layer.node)
    set_argument(layer.node, bias_name(layer.node), made)
