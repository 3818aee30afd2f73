"""Modules as calls: as they are, and compiled by Inductor."""

from __future__ import annotations

from collections.abc import Callable

import torch

from latency.contender import Call
from latency.subjects import Inputs


def called(module: Callable[..., torch.Tensor], given: Inputs) -> Call:
    """Return the module as a call that has answered for `given`."""

    def call(given: Inputs) -> torch.Tensor:
        return module(**given)

    call(given)
    return call


def compiled(module: Callable[..., torch.Tensor], given: Inputs, freeze: bool = True) -> Call:
    """Return the module compiled for the sizes of `given`; with `freeze`, its weights are constants."""
    # What was compiled before counts against the limit of recompilations.
    torch._dynamo.reset()
    with torch._inductor.config.patch(freezing=freeze):
        return called(torch.compile(module, dynamic=False), given)
