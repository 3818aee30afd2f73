"""What the zoo knows of a model: how it is built, and inputs for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

InputsOf = Callable[[int], tuple[tuple[Any, ...], dict[str, Any]]]


@dataclass(frozen=True)
class Entry:
    """A model of the zoo.

    Attributes:
        name: unique in the zoo: library and name, with a slash between.
        library: the package that it comes from.
        build: makes the model with random weights; nothing is loaded from the network.
        inputs: gives positional and keyword arguments for a batch size.
    """

    name: str
    library: str
    build: Callable[[], nn.Module]
    inputs: InputsOf


def images(*shape: int) -> InputsOf:
    """Return random inputs of `shape` behind the batch, standard normal."""
    return lambda batch: ((torch.randn(batch, *shape),), {})
