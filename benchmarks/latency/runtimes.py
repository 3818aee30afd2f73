"""ONNX Runtime and OpenVINO: files as calls, with as many threads as PyTorch has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from latency.contender import Call
from latency.subjects import Inputs


def onnx_runtime(path: Path) -> Call:
    """Return an ONNX file as a call in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def call(given: Inputs) -> torch.Tensor:
        made: torch.Tensor = torch.from_numpy(session.run(None, {k: v.numpy() for k, v in given.items()})[0])
        return made

    return call


def openvino(model: Any, precision: str, given: Inputs) -> Call:
    """Return an `openvino.Model` as a call, compiled for the sizes of `given`.

    Args:
        model: is reshaped.
        precision: f32 or bf16, of what is not quantized.
        given: inputs as large as those to come.
    """
    from fxcompress_openvino import OpenVinoModule
    from openvino import Core

    model.reshape({name: list(value.shape) for name, value in given.items()})
    hints = {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(), "NUM_STREAMS": 1,
    }  # fmt: skip
    module = OpenVinoModule(Core().compile_model(model, "CPU", hints))

    def call(given: Inputs) -> torch.Tensor:
        out: torch.Tensor = module(**given)
        return out

    return call
