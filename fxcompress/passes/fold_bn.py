"""Folding batch norm into the linear or convolution beside it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

from fxcompress.contract import Pass, PassContext, statistic
from fxcompress.graph.nodes import add_tensor, argument, calls, drop_unused, is_call, set_argument, set_tensor, tensor_of
from fxcompress.passes.weights import CONVOLUTIONS, LINEAR, TRANSPOSED_CONVOLUTIONS

aten = torch.ops.aten
FOLDABLE = (*LINEAR, *CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS)


@dataclass(frozen=True)
class FoldBatchNorm(Pass):
    """Fold batch norm into the linear or convolution before it, or after it where that is exact.

    A batch norm in evaluation mode is a scale and a shift of each channel, which weight and bias take over. After a batch
    norm only a convolution without padding is exact: a padded zero was not shifted. Where the weight is tied, or the
    value between the two is used elsewhere too, both stay, and a note says why.
    """

    name = "fold-bn"
    fidelity = "exact"
    folded = statistic("batch norms folded")
    kept = statistic("batch norms that stay")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        for norm in calls(module.graph, aten.batch_norm):
            why = obstacle_before(module, norm)
            if why is None:
                fold_into_producer(module, norm, argument(norm, "input"))
            elif (after := obstacle_after(module, norm)) is None:
                fold_into_consumer(module, norm, next(iter(norm.users)))
            else:
                context.note(f"%{norm.name} stays: {why}; {after}")
                context.record(kept=1)
                continue
            context.record(folded=1)
        drop_unused(module)
        return module


def affine(module: GraphModule, norm: Node) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return scale and shift of each channel, float64; None where a statistic or parameter is not stored."""
    tensors = {}
    for name in ("weight", "bias", "running_mean", "running_var"):
        given = argument(norm, name)
        tensors[name] = tensor_of(module, given)
        if tensors[name] is None and (given is not None or name.startswith("running")):
            return None
    mean, var = tensors["running_mean"].detach().double(), tensors["running_var"].detach().double()  # type: ignore[union-attr]
    scale = torch.rsqrt(var + argument(norm, "eps"))
    if tensors["weight"] is not None:
        scale = scale * tensors["weight"].detach().double()
    shift = -mean * scale
    if tensors["bias"] is not None:
        shift = shift + tensors["bias"].detach().double()
    return scale, shift


def obstacle_before(module: GraphModule, norm: Node) -> str | None:
    """Return why `norm` cannot be folded into the call that gives its input, None where it can."""
    producer = argument(norm, "input")
    if norm.meta.get("always_training") or argument(norm, "training") or affine(module, norm) is None:
        return "it normalises by the statistics of the batch"
    if not is_call(producer, *FOLDABLE):
        return f"its input %{producer.name} is no linear or convolution"
    if len(producer.users) > 1:
        return f"%{producer.name} is used elsewhere too"
    if is_call(producer, *LINEAR) and dimensions(norm) != 2:
        return f"%{producer.name} gives its features in another dimension"
    return unfit(module, producer)


def obstacle_after(module: GraphModule, norm: Node) -> str | None:
    """Return why `norm` cannot be folded into the call that reads its result, None where it can."""
    if len(norm.users) != 1:
        return "its result is used more than once"
    consumer = next(iter(norm.users))
    if affine(module, norm) is None or norm.meta.get("always_training") or argument(norm, "training"):
        return "there is no fixed scale to move"
    if not is_call(consumer, *LINEAR, *CONVOLUTIONS) or argument(consumer, "input") is not norm:
        return f"%{consumer.name} after it is no linear or convolution"
    if is_call(consumer, *LINEAR) and dimensions(norm) != 2:
        return f"%{consumer.name} contracts another dimension"
    if is_call(consumer, *CONVOLUTIONS) and not unpadded(consumer):
        return f"%{consumer.name} after it pads with zeros"
    return unfit(module, consumer)


def unfit(module: GraphModule, node: Node) -> str | None:
    """Return why weight or bias of `node` cannot take over a scale and a shift, None where they can."""
    for name in ("weight", "bias"):
        given = argument(node, name)
        if given is None and name == "bias":
            continue
        tensor = tensor_of(module, given)
        if tensor is None:
            return f"the {name} of %{node.name} is computed in the graph"
        readers = {
            user
            for one in module.graph.find_nodes(op="get_attr")
            if tensor_of(module, one) is tensor
            for user in one.users
        }
        if readers != {node}:
            return f"the {name} of %{node.name} is shared"
    return None


def dimensions(norm: Node) -> int:
    return int(argument(norm, "input").meta["val"].dim())


def unpadded(node: Node) -> bool:
    """Whether a convolution sees no zeros but those of its input."""
    padding = argument(node, "padding")
    return padding == "valid" or (not isinstance(padding, str) and not any(padding))


def fold_into_producer(module: GraphModule, norm: Node, producer: Node) -> None:
    """Let weight and bias of `producer` give what `norm` made of its result."""
    found = affine(module, norm)
    weight, bias = tensor_of(module, argument(producer, "weight")), tensor_of(module, argument(producer, "bias"))
    assert found is not None
    assert weight is not None
    scale, shift = found
    if is_call(producer, *TRANSPOSED_CONVOLUTIONS):
        groups = argument(producer, "groups")
        per_group = weight.detach().double().unflatten(0, (groups, -1))
        wide = per_group * scale.view(groups, 1, -1, *[1] * (weight.dim() - 2))
        wide = wide.flatten(0, 1)
    else:
        wide = weight.detach().double() * scale.view(-1, *[1] * (weight.dim() - 1))
    replace_weight_and_bias(module, producer, wide, shift if bias is None else bias.detach().double() * scale + shift)
    norm.replace_all_uses_with(producer)
    producer.meta["origin"] = (producer.name, norm.name)
    module.graph.erase_node(norm)


def fold_into_consumer(module: GraphModule, norm: Node, consumer: Node) -> None:
    """Let weight and bias of `consumer` take the input of `norm` as it is."""
    found = affine(module, norm)
    weight, bias = tensor_of(module, argument(consumer, "weight")), tensor_of(module, argument(consumer, "bias"))
    assert found is not None
    assert weight is not None
    groups = 1 if is_call(consumer, *LINEAR) else argument(consumer, "groups")
    scale, shift = (vector.view(groups, 1, -1, *[1] * (weight.dim() - 2)) for vector in found)
    grouped = weight.detach().double().unflatten(0, (groups, -1))
    moved = (grouped * shift).flatten(0, 1).flatten(1).sum(1)
    wide = (grouped * scale).flatten(0, 1)
    replace_weight_and_bias(module, consumer, wide, moved if bias is None else bias.detach().double() + moved)
    norm.replace_all_uses_with(argument(norm, "input"))
    consumer.meta["origin"] = (consumer.name, norm.name)
    module.graph.erase_node(norm)


def replace_weight_and_bias(module: GraphModule, node: Node, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Store new values, rounded to the weight's dtype; a missing bias is made beside the weight."""
    source = argument(node, "weight")
    old = tensor_of(module, source)
    assert old is not None
    set_tensor(module, str(source.target), weight.to(old.dtype))
    given = argument(node, "bias")
    if given is not None:
        set_tensor(module, str(given.target), bias.to(old.dtype))
        return
    path = str(source.target).rpartition(".")[0]
    made = torch.nn.Parameter(bias.to(old.dtype), requires_grad=old.requires_grad)
    set_argument(node, "bias", add_tensor(module, f"{path}.bias" if path else "bias", made, node))
