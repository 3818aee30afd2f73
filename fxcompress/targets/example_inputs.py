"""The example inputs of an artifact as JSON and tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fxcompress.capturing import Inputs
from fxcompress.errors import ArtifactError
from fxcompress.targets import arguments
from fxcompress.targets.json_text import record

_INPUT = ".input."


def is_input(name: str) -> bool:
    """Whether a tensor of that name is one of the example inputs."""
    return name.startswith(_INPUT)


def encode_inputs(stored: dict[str, torch.Tensor], inputs: Inputs | None) -> tuple[dict[str, torch.Tensor], Any]:
    """Return the tensors to store with those of the inputs, and the inputs as JSON."""
    if inputs is None:
        return stored, None
    stored = dict(stored)

    def name(tensor: Any) -> Any:
        key = f"{_INPUT}{sum(name.startswith(_INPUT) for name in stored)}"
        stored[key] = tensor
        return {"tensor": key}

    given = {"args": arguments.encode(tuple(inputs.args), name), "kwargs": arguments.encode(dict(inputs.kwargs), name)}
    return stored, given


def decode_inputs(value: Any, stored: Mapping[str, torch.Tensor]) -> Inputs | None:
    """Return the inputs that `encode_inputs` wrote, None where there were none.

    Raises:
        ArtifactError: a tensor that is not there, or what no call takes.
    """
    if value is None:
        return None
    fields = record(value, "the inputs", {"args": dict, "kwargs": dict})

    def tensor(name: str) -> torch.Tensor:
        if not name.startswith(_INPUT) or name not in stored:
            raise ArtifactError("the inputs have a tensor that is not there")
        return stored[name]

    args = arguments.decode(fields["args"], {"tensor": tensor})
    kwargs = arguments.decode(fields["kwargs"], {"tensor": tensor})
    if not isinstance(args, tuple) or not isinstance(kwargs, dict) or not all(type(key) is str for key in kwargs):
        raise ArtifactError("the inputs are no positional and keyword arguments")
    return Inputs(*args, **kwargs)
