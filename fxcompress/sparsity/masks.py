"""Masks in the graph: a call between a stored weight and all that reads it.

    %weight = get_attr[layer.weight]
    %mask   = get_attr[layer.weight_mask]
    %masked = fxcompress.masked(%weight, %mask)

The mask is a bool buffer beside the weight, which stays a parameter under its name. What an optimizer writes into
masked elements, by weight decay or momentum, never reaches a result. The stored elements are zero too when a mask is
put in or taken off, so that whoever looks at the weight alone sees the zeros.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch.fx import GraphModule, Node

import fxcompress.kernels  # noqa: F401  registers the operator
from fxcompress.errors import UsageError
from fxcompress.graph.module import CapturedModule
from fxcompress.graph.nodes import calls
from fxcompress.graph.tensors import attribute, free_path, put_tensor, remove_tensor, tied_paths

_MASKED = torch.ops.fxcompress.masked


def masks_of(module: GraphModule) -> dict[str, torch.Tensor]:
    """Return the masks in the graph by the path of their weight, which is true where the weight is kept.

    A tied weight is there once, under the path that the graph reads first.
    """
    found: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for node in calls(module.graph, _MASKED):
        weight, mask = (str(source.target) for source in node.all_input_nodes)
        held = id(attribute(module, weight))
        if held not in seen:
            seen.add(held)
            found[weight] = attribute(module, mask)
    return found


def insert_mask(module: GraphModule, weight: str, keep: torch.Tensor) -> None:
    """Put a mask over the weight under the path `weight`, in place of one that is there, and zero what it masks.

    Args:
        keep: bool, of the shape of the weight: false where it becomes zero.

    Raises:
        UsageError: the mask is not bool, or of another shape.
    """
    tensor = attribute(module, weight)
    if keep.dtype != torch.bool or keep.shape != tensor.shape:
        raise UsageError(
            f"a mask of {weight} is bool of shape {list(tensor.shape)}, not {keep.dtype} {list(keep.shape)}"
        )
    paths = set(tied_paths(module, tensor))
    bake_masks(module, paths)
    keep = keep.to(tensor.device)
    with torch.no_grad():
        tensor.masked_fill_(~keep, 0)
    place = free_path(module, f"{weight}_mask")
    put_tensor(module, place, keep)
    for source in module.graph.find_nodes(op="get_attr"):
        if source.target in paths:
            _put_between(module, source, place, keep)


def _put_between(module: GraphModule, source: Node, place: str, keep: torch.Tensor) -> None:
    graph = module.graph
    with graph.inserting_after(source):
        mask = _named(graph.get_attr(place), f"{source.name}_mask")
    mask.meta["val"] = keep
    with graph.inserting_after(mask):
        made = _named(graph.call_function(_MASKED.default, (source, mask)), f"{source.name}_masked")
    made.meta["val"] = source.meta.get("val")
    # The mask is of the layer that reads the weight first.
    stacks = [user.meta["nn_module_stack"] for user in source.users if "nn_module_stack" in user.meta]
    if stacks:
        made.meta["nn_module_stack"] = stacks[0]
    source.replace_all_uses_with(made, delete_user_cb=lambda user: user is not made)


def _named(node: Node, name: str) -> Node:
    if node.name != name:
        node._rename(name)
    return node


def _erase(node: Node) -> None:
    """Erase a node and free its name, under which the mask may come back."""
    node.graph.erase_node(node)
    node.graph._graph_namespace._used_names.discard(node.name)


def bake_masks(module: GraphModule, paths: Iterable[str] | None = None) -> list[str]:
    """Make masks plain zeros in their weights, and remove calls and buffers; return the paths of these weights.

    Args:
        paths: of weights; None for all.
    """
    return list(take_off(module, paths))


def take_off(module: GraphModule, paths: Iterable[str] | None = None) -> dict[str, torch.Tensor]:
    """Do what `bake_masks` does, and return the masks that were there by the paths of their weights."""
    wanted = None if paths is None else {id(attribute(module, path)) for path in paths}
    found = {
        path: mask for path, mask in masks_of(module).items() if wanted is None or id(attribute(module, path)) in wanted
    }
    held = {id(attribute(module, path)): mask for path, mask in found.items()}
    with torch.no_grad():
        for path, mask in found.items():
            attribute(module, path).masked_fill_(~mask, 0)
    gone = set()
    for node in calls(module.graph, _MASKED):
        weight, mask_node = node.all_input_nodes
        if id(attribute(module, str(weight.target))) in held:
            gone.add(str(mask_node.target))
            node.replace_all_uses_with(weight)
            _erase(node)
            if not mask_node.users:
                _erase(mask_node)
    for path in gone - {str(node.target) for node in module.graph.find_nodes(op="get_attr")}:
        remove_tensor(module, path)
    return found


def without_masks(module: CapturedModule) -> CapturedModule:
    """Return `module`, or where it has masks a copy that has plain zeros in their place."""
    if not calls(module.graph, _MASKED):
        return module
    made = copy.deepcopy(module)
    bake_masks(made)
    made.recompile()
    return made
