"""Which implementation of an operator runs on a GPU: the one in Triton, imported at the first call."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

from fxcompress.kernels.library import OPERATORS


def on_gpu(name: str, place: str, plain: Callable[..., Any]) -> None:
    """Let the operator `name` run on a GPU.

    Args:
        place: `file.function`, in this folder, of the implementation in Triton.
        plain: what runs where Triton is not there.
    """

    def run(*arguments: Any, **keywords: Any) -> Any:
        return _found(place, plain)(*arguments, **keywords)

    OPERATORS.impl(name, run, "CUDA")


@functools.cache
def _found(place: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    if importlib.util.find_spec("triton") is None:
        warnings.warn("Triton is not installed: linears on the GPU run in plain PyTorch, slowly", stacklevel=2)
        return plain
    file, _, function = place.partition(".")
    found: Callable[..., Any] = getattr(importlib.import_module(f"fxcompress.kernels.gpu.{file}"), function)
    return found
