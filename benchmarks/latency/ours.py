"""fxcompress inside PyTorch: quantized, lowered, run as it comes out and compiled by Inductor."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

import fxcompress as fxc
from latency.compiling import called, compiled
from latency.contender import Call, Contender, Ready
from latency.subjects import Inputs, Subject

PIPELINES = {
    "minilm": (
        "quantize{scheme=w8a8},lower",
        "quantize{scheme=w8a8-static},lower",
        "quantize{scheme=w8a16},lower",
    ),
    "resnet18": ("fold-bn,quantize{scheme=w8a8-static},lower", "fold-bn,quantize{scheme=w8a8},lower"),
}


def contenders() -> list[Contender]:
    """Return every pipeline, eager and compiled."""
    found = []
    for subject, pipelines in PIPELINES.items():
        for pipeline in pipelines:
            for words, run in (("eager", called), ("compiled", partial(compiled, freeze=False))):
                prepare = partial(lowered, pipeline=pipeline, run=run)
                usual = words == "eager" or "w8a16" not in pipeline
                found.append(Contender(f"fxcompress {pipeline} {words}", prepare, (), (subject,), usual))
    return found


def lowered(subject: Subject, pipeline: str, run: Callable[[torch.nn.Module, Inputs], Call]) -> Ready:
    """Compress for each batch anew: `lower` chooses by the sizes of the example inputs."""

    def ready(given: Inputs) -> Call:
        return run(fxc.compress(subject.model, given, pipeline, calibration=subject.calibration).module, given)

    return ready
