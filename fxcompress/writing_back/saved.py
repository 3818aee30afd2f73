"""What a module was before it was touched, to the bit, and the way back to it."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import torch
from torch import nn

# Of other classes nobody knows what a copy of them is.
_CONTAINERS = (dict, OrderedDict, list, set)


class Saved:
    """The state of a module and of all modules in it: attributes, hooks, modes, tensors with their gradients.

    Tensors keep their identity, so ties and optimizers hold: only the memory behind them is exchanged.
    """

    def __init__(self, model: nn.Module) -> None:
        self.modules = [(module, dict(module.__dict__)) for module in model.modules()]
        self.containers = [(held, copy.copy(held)) for _, state in self.modules for held in _containers(state)]
        held = {id(tensor): tensor for module, _ in self.modules for tensor in own_tensors(module).values()}
        self.tensors = [(tensor, tensor.data, tensor.grad if tensor.is_leaf else None) for tensor in held.values()]

    def restore(self) -> None:
        """Put everything back, the very objects and the very memory."""
        for module, state in self.modules:
            module.__dict__.clear()
            module.__dict__.update(state)
        for held, before in self.containers:
            _refill(held, before)
        for tensor, data, grad in self.tensors:
            tensor.data = data
            if tensor.is_leaf and tensor.grad is not grad:
                tensor.grad = grad


def own_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors that `module` itself holds: parameters, buffers, and plain attributes."""
    held = {**module._parameters, **module._buffers, **module.__dict__}
    return {name: value for name, value in held.items() if isinstance(value, torch.Tensor)}


def _containers(state: dict[str, Any]) -> list[Any]:
    return [value for value in state.values() if type(value) in _CONTAINERS]


def _refill(held: Any, before: Any) -> None:
    """Give a container the content that its copy has."""
    if isinstance(held, list):
        held[:] = before
    else:
        held.clear()
        held.update(before)
