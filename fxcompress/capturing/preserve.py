"""Keeps what belongs to the user as it was while a model is traced: flags, attributes, random numbers."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Put `model` into evaluation mode inside, and restore it afterwards, whatever happens inside.

    What is restored: every attribute of every submodule (parameters, buffers, hooks and the training flag among
    them), the content of lists, dictionaries and sets that are attributes, and the states of all random generators.
    `eval()` is not called, since a model may override it with lasting effects such as merged weights.
    """
    modules = list(model.modules())
    before = [_Attributes(module) for module in modules]
    with _same_random_numbers():
        try:
            for module in modules:
                module.training = False
            yield
        finally:
            for attributes in before:
                attributes.restore()


class _Attributes:
    """The attributes of one module, and what their containers hold."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.values = dict(module.__dict__)
        self.contents = [(value, value.copy()) for value in self.values.values() if type(value) in _REFILL]

    def restore(self) -> None:
        self.module.__dict__.clear()
        self.module.__dict__.update(self.values)
        for container, content in self.contents:
            container.clear()
            _REFILL[type(container)](container, content)


_REFILL: dict[type, Any] = {list: list.extend, dict: dict.update, OrderedDict: OrderedDict.update, set: set.update}


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Restore the states of the generators of torch, numpy and Python afterwards."""
    python, array = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(array)
