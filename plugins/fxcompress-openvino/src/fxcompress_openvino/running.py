"""Running OpenVINO IR from Python as a module, to compare it with others."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from fxcompress.errors import InputError, UsageError
from fxcompress_openvino.target import openvino_package

Precision = Literal["f32", "bf16", "f16"]


class OpenVinoModule(nn.Module):
    """A compiled model of OpenVINO that is called with tensors.

    Attributes:
        inputs: names of the inputs, in the order of positional arguments.
        outputs: names of the results.
    """

    def __init__(self, compiled: Any) -> None:
        super().__init__()
        self._request = compiled.create_infer_request()
        self.inputs = [one.any_name for one in compiled.inputs]
        self.outputs = [one.any_name for one in compiled.outputs]

    def forward(self, *args: torch.Tensor, **kwargs: torch.Tensor) -> Any:
        """Return the tensor that the model gives; of several a dict by their names."""
        given = dict(zip(self.inputs, args, strict=False)) | kwargs
        if len(args) + len(kwargs) != len(self.inputs) or set(given) != set(self.inputs):
            raise InputError("the inputs do not fit", hint=f"the model takes: {', '.join(self.inputs)}")
        arrays = {name: tensor.detach().numpy() for name, tensor in given.items()}
        # The next call overwrites what the request holds, hence the copies.
        made = [torch.from_numpy(array.copy()) for array in self._request.infer(arrays, share_inputs=True).values()]
        return made[0] if len(made) == 1 else dict(zip(self.outputs, made, strict=True))


def load(
    path: str | Path, *, precision: Precision | None = None, threads: int | None = None, device: str = "CPU"
) -> OpenVinoModule:
    """Compile the model in `path` and return it as a module.

    Args:
        path: an `.xml` file that the target `openvino` wrote, or an `.onnx` file.
        precision: what is calculated that is not quantized; None leaves it to OpenVINO.
        threads: to use; None leaves it to OpenVINO.
        device: as OpenVINO names it.

    Raises:
        UsageError: openvino is not installed, or it does not read the file.
    """
    core = openvino_package().Core()
    hints: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if precision is not None:
        hints["INFERENCE_PRECISION_HINT"] = precision
    if threads is not None:
        hints |= {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    try:
        return OpenVinoModule(core.compile_model(core.read_model(str(path)), device, hints))
    except RuntimeError as error:
        why = next((line for line in str(error).splitlines() if line.strip()), "RuntimeError")
        raise UsageError(f"OpenVINO does not load {path}: {why}", hint="save it with fxcompress: m.xml") from error
