"""Example inputs of a model: positional and keyword arguments held together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from fxcompress.errors import InputError
from fxcompress.graph.types import type_text


class Inputs:
    """The arguments of one call of a model: `Inputs(image, scale=1.0).call(model)` is `model(image, scale=1.0)`.

    Attributes:
        args: the positional arguments, nests of tensors and constants.
        kwargs: the keyword arguments.
    """

    def __init__(self, /, *args: Any, **kwargs: Any) -> None:
        self.args = args
        self.kwargs = kwargs

    def call(self, module: Callable[..., Any]) -> Any:
        """Return what `module` gives for these arguments."""
        return module(*self.args, **self.kwargs)

    def to(self, device: torch.device | str) -> Inputs:
        """Return the same inputs with every tensor on `device`."""
        return self.map_tensors(lambda tensor: tensor.to(device))

    def map_tensors(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Inputs:
        """Return inputs of the same structure, every tensor replaced by what `change` gives for it."""
        args, kwargs = pytree.tree_map_only(torch.Tensor, change, (self.args, self.kwargs))
        return Inputs(*args, **kwargs)

    def tensors(self) -> list[torch.Tensor]:
        """Return the tensors in the order of the call, those inside of lists and dictionaries too."""
        leaves = pytree.tree_leaves((self.args, self.kwargs))
        return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]

    def describe(self) -> str:
        """Return the types of the arguments as text: `(f32[4, 3, 8, 8], scale=1.0)`."""
        words = [_described(value) for value in self.args]
        words += [f"{name}={_described(value)}" for name, value in self.kwargs.items()]
        return f"({', '.join(words)})"

    def __repr__(self) -> str:
        return f"Inputs{self.describe()}"


def _described(value: Any) -> str:
    return repr(value) if isinstance(value, bool | int | float | str) else type_text(value)


def as_inputs(value: Any) -> Inputs:
    """Return `value` as inputs of a call.

    Args:
        value: a tuple or list of positional arguments, a dictionary of keyword arguments, `Inputs`, or one tensor.

    Raises:
        InputError: `value` is none of these.
    """
    if isinstance(value, Inputs):
        return value
    if isinstance(value, torch.Tensor):
        return Inputs(value)
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return Inputs(**value)
    if isinstance(value, tuple | list):
        return Inputs(*value)
    raise InputError(
        f"inputs are given as {type(value).__name__}",
        hint="give a tuple of positional arguments, a dict of keyword arguments, or Inputs(*args, **kwargs)",
    )
