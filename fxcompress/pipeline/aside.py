"""Masks step aside while a pass runs that does not know of them, and come back over what they masked."""

from __future__ import annotations

import torch
from torch.fx import GraphModule

from fxcompress.contract import Pass, PassContext
from fxcompress.graph.tensors import named_tensors, read_tensors
from fxcompress.pruning.removing.places import taken
from fxcompress.sparsity import insert_mask, masks_of, take_off
from fxcompress.text import listing


def apply_aside(running: Pass, module: GraphModule, context: PassContext) -> GraphModule:
    """Run a pass, as its class wants masks: see `Pass.masks`."""
    if running.masks == "seen":
        return running.apply(module, context)
    context.masks = take_off(module)
    if context.masks:
        module.recompile()
    made = running.apply(module, context)
    if context.masks and isinstance(made, GraphModule):
        _put_back(running, made, context)
    return made


def _put_back(running: Pass, module: GraphModule, context: PassContext) -> None:
    """Put masks over the weights that are still there; what a pass made of a masked element other than zero stays."""
    held, read, there = dict(named_tensors(module)), read_tensors(module), masks_of(module)
    baked, filled = [], []
    for path, mask in context.masks.items():
        weight = held.get(path)
        if path in there:
            continue
        keep = taken(mask, context.details.get("plan", {}).get(path, {}))
        if running.masks == "baked" or weight is None or not _fits(weight, keep) or id(weight) not in read:
            baked.append(path)
            continue
        left = keep.to(weight.device) | (weight.detach() != 0)
        filled += [path] if int(left.sum()) > int(keep.sum()) else []
        if not left.all():
            insert_mask(module, path, left)
    if baked:
        context.note(f"{listing(baked)}: the mask became plain zeros")
    if filled:
        context.note(f"{listing(filled)}: masked weights got values, which the mask now keeps")


def _fits(weight: torch.Tensor, keep: torch.Tensor) -> bool:
    return weight.is_floating_point() and weight.element_size() > 1 and weight.shape == keep.shape
