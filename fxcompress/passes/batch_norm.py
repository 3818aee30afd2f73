"""Batch norm in evaluation mode as a scale and a shift of each channel, and how a layer beside it takes them over."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import argument, is_call, set_argument
from fxcompress.graph.operators import CONVOLUTIONS, LINEAR, TRANSPOSED_CONVOLUTIONS
from fxcompress.graph.tensors import Sources, add_tensor, set_tensor, tensor_of
from fxcompress.weights.rearranging import moved_axis, rearranged, value_users

LAYERS = (*LINEAR, *CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS)


@dataclass(frozen=True)
class Affine:
    """`y = scale * x + shift` for each channel: two float64 vectors."""

    scale: torch.Tensor
    shift: torch.Tensor


@dataclass(frozen=True)
class Fold:
    """What a layer becomes when it takes over an affine map.

    Attributes:
        layer: the linear or convolution.
        weight: its new weight, in the dtype of the old one.
        bias: its new bias.
    """

    layer: Node
    weight: torch.Tensor
    bias: torch.Tensor

    @property
    def path(self) -> str:
        return str(argument(self.layer, "weight").target)


def affine_of(module: GraphModule, norm: Node) -> Affine | str:
    """Return what `norm` does to each channel, or why that is not fixed."""
    if norm.meta.get("always_training") or argument(norm, "training"):
        return "it normalises by the statistics of the batch"
    found: dict[str, torch.Tensor] = {}
    for name in ("weight", "bias", "running_mean", "running_var"):
        given = argument(norm, name)
        tensor = tensor_of(module, given)
        if tensor is not None:
            found[name] = tensor.detach().double()
        elif given is not None or name.startswith("running"):
            return f"its {name} is computed in the graph"
    scale = found.get("weight", 1.0) * torch.rsqrt(found["running_var"] + argument(norm, "eps"))
    return Affine(scale, found.get("bias", 0.0) - found["running_mean"] * scale)


def fold_before(module: GraphModule, sources: Sources, norm: Node, affine: Affine) -> Fold | str:
    """Return what the layer that gives the input of `norm` becomes, or why it cannot take it over."""
    between = []
    layer = argument(norm, "input")
    while (source := rearranged(layer)) is not None:
        between.append(layer)
        layer = source
    if not is_call(layer, *LAYERS):
        return "no linear or convolution before it"
    if any(len(value_users(node)) != 1 for node in (layer, *between)):
        return "the value before it is used elsewhere too"
    axis: int | None = channel_axis(layer, layer)
    for node in reversed(between):
        axis = moved_axis(node, axis) if axis is not None else None
    if axis != 1:
        return "the layer before it has its channels on another axis"
    return unfit(module, sources, layer, "before") or sound(Fold(layer, *after_layer(module, layer, affine)), module)


def fold_after(module: GraphModule, sources: Sources, norm: Node, affine: Affine) -> Fold | str:
    """Return what the layer that reads the result of `norm` becomes, or why it cannot take it over."""
    axis: int | None = 1
    node, layer = norm, None
    while layer is None:
        users = value_users(node)
        if len(users) != 1:
            return "its result is used more than once"
        if rearranged(users[0]) is node:
            axis = moved_axis(users[0], axis) if axis is not None else None
            node = users[0]
        elif not is_call(users[0], *LINEAR, *CONVOLUTIONS) or argument(users[0], "input") is not node:
            return "no linear or convolution after it"
        else:
            layer = users[0]
    if axis != channel_axis(layer, node):
        return "the layer after it has its channels on another axis"
    if is_call(layer, *CONVOLUTIONS) and not unpadded(module, layer):
        return "the convolution after it pads with zeros"
    return unfit(module, sources, layer, "after") or sound(Fold(layer, *before_layer(module, layer, affine)), module)


def channel_axis(layer: Node, value: Node) -> int:
    """Return the axis of channels of `value`, the input or the result of a linear or convolution."""
    behind = 1 if is_call(layer, *LINEAR) else argument(layer, "weight").meta["val"].dim() - 1
    return int(value.meta["val"].dim()) - behind


def unfit(module: GraphModule, sources: Sources, layer: Node, where: str) -> str | None:
    """Return why weight or bias of `layer` cannot take over a scale and a shift, None where they can."""
    for name in ("weight", "bias"):
        given = argument(layer, name)
        if given is None and name == "bias":
            continue
        tensor = tensor_of(module, given)
        if tensor is None:
            return f"the {name} {where} it is computed in the graph"
        if sources.readers(given) != {layer}:
            return f"the {name} {where} it is shared"
        if name == "weight" and tensor.dim() < 2:
            return f"the weight {where} it is a vector"
    return None


def sound(fold: Fold, module: GraphModule) -> Fold | str:
    """Return `fold`, or say that its numbers are beyond the range of the dtype."""
    old = tensor_of(module, argument(fold.layer, "weight"))
    assert old is not None
    if old.isfinite().all() and not (fold.weight.isfinite().all() and fold.bias.isfinite().all()):
        return f"the folded weight is beyond the range of {str(old.dtype).removeprefix('torch.')}"
    return fold


def unpadded(module: GraphModule, layer: Node) -> bool:
    """Whether a convolution sees no zeros but those of its input."""
    padding = argument(layer, "padding")
    if padding == "same":
        return set(argument(layer, "weight").meta["val"].shape[2:]) == {1}
    return padding == "valid" or not any(padding)


def weight_and_bias(module: GraphModule, layer: Node) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight and bias of a layer in float64; a missing bias is zero."""
    weight, bias = tensor_of(module, argument(layer, "weight")), tensor_of(module, argument(layer, "bias"))
    assert weight is not None
    wide = weight.detach().double()
    return wide, wide.new_zeros(()) if bias is None else bias.detach().double()


def after_layer(module: GraphModule, layer: Node, affine: Affine) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight and bias that give what `affine` made of the result of `layer`."""
    weight, bias = weight_and_bias(module, layer)
    if is_call(layer, *TRANSPOSED_CONVOLUTIONS):
        # [inputs, outputs of a group, ...]: the outputs of the groups lie behind each other in the channels.
        groups = argument(layer, "groups")
        grouped = weight.unflatten(0, (groups, -1))
        scaled = (grouped * spread(affine.scale, groups, weight.dim())).flatten(0, 1)
    else:
        scaled = weight * affine.scale.view(-1, *[1] * (weight.dim() - 1))
    return rounded(module, layer, scaled, bias * affine.scale + affine.shift)


def before_layer(module: GraphModule, layer: Node, affine: Affine) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight and bias that give of `x` what `layer` gave of the `affine` map of `x`."""
    weight, bias = weight_and_bias(module, layer)
    groups = 1 if is_call(layer, *LINEAR) else argument(layer, "groups")
    grouped = weight.unflatten(0, (groups, -1))
    scaled = (grouped * spread(affine.scale, groups, weight.dim())).flatten(0, 1)
    moved = (grouped * spread(affine.shift, groups, weight.dim())).flatten(0, 1).flatten(1).sum(1)
    return rounded(module, layer, scaled, bias + moved)


def spread(vector: torch.Tensor, groups: int, dims: int) -> torch.Tensor:
    """Return a vector over channels as `[groups, 1, channels of a group, 1, ...]`, for a grouped weight."""
    return vector.view(groups, 1, -1, *[1] * (dims - 2))


def rounded(
    module: GraphModule, layer: Node, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both in the dtype of the layer's weight."""
    old = tensor_of(module, argument(layer, "weight"))
    assert old is not None
    return weight.to(old.dtype), bias.to(old.dtype)


def perform(module: GraphModule, norm: Node, fold: Fold) -> None:
    """Store what the layer becomes, and let the readers of `norm` read its input."""
    layer = fold.layer
    old = tensor_of(module, argument(layer, "weight"))
    assert old is not None
    given = argument(layer, "bias")
    set_tensor(module, fold.path, fold.weight)
    if given is not None:
        set_tensor(module, str(given.target), fold.bias)
    else:
        made = torch.nn.Parameter(fold.bias, requires_grad=old.requires_grad)
        path = f"{fold.path.rpartition('.')[0]}.bias".lstrip(".")
        set_argument(layer, "bias", add_tensor(module, path, made, layer))
    norm.replace_all_uses_with(argument(norm, "input"))
    layer.meta["origin"] = (*layer.meta.get("origin", (layer.name,)), norm.name)
    module.graph.erase_node(norm)
