"""What is compared: a way to make a model fast, by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import torch

from latency.subjects import Inputs, Subject

Call = Callable[[Inputs], torch.Tensor]
# From inputs as large as those to come, a call that has answered for them once.
Ready = Callable[[Inputs], Call]
EVERY = ("minilm", "resnet18")
INSTALL = {
    "fxcompress_openvino": "pip install --no-deps -e plugins/fxcompress-openvino",
    "torchao": "pip install --no-deps torchao==0.18.0",
}


@dataclass(frozen=True)
class Contender:
    """A way to make a model fast.

    Attributes:
        name: as in the tables.
        prepare: quantizes a subject, whatever the batch will be.
        needs: packages, as they are imported.
        subjects: names of those that it is for.
        usual: whether it runs where nobody names it.
        reads_onnx: whether it starts from `Subject.onnx`, which is then made before the clock runs.
    """

    name: str
    prepare: Callable[[Subject], Ready]
    needs: tuple[str, ...] = ()
    subjects: tuple[str, ...] = EVERY
    usual: bool = True
    reads_onnx: bool = False

    def missing(self) -> str:
        """Return which packages are not there, and how they come; nothing where all are."""
        names = [name for name in self.needs if importlib.util.find_spec(name) is None]
        return "; ".join(f"{name} is not installed: {INSTALL.get(name, f'pip install {name}')}" for name in names)
