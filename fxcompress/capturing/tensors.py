"""Puts a traced graph and copies of the user's tensors into a module of its own."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.fx import GraphModule

from fxcompress.graph.module import CapturedModule, copy_graph
from fxcompress.graph.tensors import attribute, named_tensors, owner_of


def with_own_tensors(traced: GraphModule, model: nn.Module) -> CapturedModule:
    """Return a module with the graph of `traced` and copies of all tensors of `model` under their old names.

    Tied tensors stay one object under all of their names. Tensors that `traced` brings beside those of the model
    (constants) become buffers that `state_dict()` leaves out.
    """
    copies = _Copies()
    root = nn.Module()
    for path, tensor in named_tensors(model):
        _register(root, path, copies.of(tensor), _persistent(model, path))
    known = {path for path, _ in named_tensors(root)}
    for node in traced.graph.find_nodes(op="get_attr"):
        path = str(node.target)
        if path in known:
            continue
        held = attribute(traced, path)
        if isinstance(held, torch.Tensor):
            _register(root, path, copies.of(held), persistent=False)
            known.add(path)
        else:
            owner, last = owner_of(root, path)
            setattr(owner, last, copy.deepcopy(held))
    return CapturedModule(root, copy_graph(traced.graph))


def _persistent(model: nn.Module, path: str) -> bool:
    owner, last = owner_of(model, path)
    return last not in owner._non_persistent_buffers_set


def _register(root: nn.Module, path: str, tensor: torch.Tensor, persistent: bool) -> None:
    owner, last = owner_of(root, path)
    if isinstance(tensor, nn.Parameter):
        owner.register_parameter(last, tensor)
    else:
        owner.register_buffer(last, tensor, persistent=persistent)


class _Copies:
    """Copies of tensors with memory of their own, one for each tensor."""

    def __init__(self) -> None:
        self.tensors: dict[int, torch.Tensor] = {}

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in self.tensors:
            made = tensor.detach().clone()
            if isinstance(tensor, nn.Parameter):
                made = nn.Parameter(made, requires_grad=tensor.requires_grad)
            self.tensors[id(tensor)] = made
        return self.tensors[id(tensor)]
