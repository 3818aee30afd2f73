"""What PyTorch and torchao offer without calibration: floats, bfloat16, dynamic and weight-only integers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from latency.compiling import called, compiled
from latency.contender import Call, Contender, Ready
from latency.subjects import Inputs, Subject

Run = Callable[[nn.Module, Inputs], Call]
BASELINE = "fp32 eager"
TORCHAO = {"dynamic int8": "Int8DynamicActivationInt8WeightConfig", "int8 weight-only": "Int8WeightOnlyConfig"}


def contenders() -> list[Contender]:
    """Return floats, bfloat16 and torchao's, eager and compiled."""
    found = [
        Contender(BASELINE, partial(as_it_is, run=called)),
        Contender("fp32 compiled", partial(as_it_is, run=compiled)),
    ]
    for words, run in (("eager", called), ("compiled", compiled)):
        found.append(Contender(f"bf16 {words}", partial(bfloat16, run=run)))
    for what, config in TORCHAO.items():
        for words, run in (("eager", called), ("compiled", compiled)):
            prepare = partial(torchao, config=config, run=run)
            # It quantizes linears, and ResNet-18 has one.
            usual = (what, words) != ("int8 weight-only", "compiled")
            found.append(Contender(f"torchao {what} {words}", prepare, ("torchao",), ("minilm",), usual))
    return found


def as_it_is(subject: Subject, run: Run) -> Ready:
    return partial(run, subject.model)


def bfloat16(subject: Subject, run: Run) -> Ready:
    return partial(run, Bfloat16(subject.model))


class Bfloat16(nn.Module):
    """A copy of a model with weights and activations in bfloat16, inputs and result in float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).bfloat16()

    def forward(self, **given: torch.Tensor) -> torch.Tensor:
        inputs = {name: value.bfloat16() if value.is_floating_point() else value for name, value in given.items()}
        out: torch.Tensor = self.model(**inputs).float()
        return out


def torchao(subject: Subject, config: str, run: Run) -> Ready:
    from torchao import quantization

    model = copy.deepcopy(subject.model)
    quantization.quantize_(model, getattr(quantization, config)())
    return partial(run, model)
