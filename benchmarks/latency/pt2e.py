"""Quantization of exported programs (PT2E) for x86, compiled by Inductor with its weights frozen."""

from __future__ import annotations

from functools import partial

import torch

from latency.compiling import compiled
from latency.contender import Contender, Ready
from latency.subjects import Subject


def contenders() -> list[Contender]:
    """Return static for all, and dynamic for what consists of linears."""
    return [
        Contender("PT2E X86Inductor static compiled", partial(quantized, dynamic=False), ("torchao",)),
        Contender("PT2E X86Inductor dynamic compiled", partial(quantized, dynamic=True), ("torchao",), ("minilm",)),
    ]


def quantized(subject: Subject, dynamic: bool) -> Ready:
    from torchao.quantization.pt2e import quantize_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config(is_dynamic=dynamic))
    program = torch.export.export(subject.model, (), subject.unseen, dynamic_shapes=subject.dynamic, strict=True)
    prepared = quantize_pt2e.prepare_pt2e(program.module(), quantizer)
    for batch in subject.calibration:
        prepared(**batch)
    return partial(compiled, quantize_pt2e.convert_pt2e(prepared))
