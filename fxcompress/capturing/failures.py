"""Says what of a model export does not take, and where it stands."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType

import torch
from torch import nn

from fxcompress.errors import CaptureError

_TORCH = str(Path(torch.__file__).parent)


def capture_failure(model: nn.Module, error: Exception) -> CaptureError:
    """Return the error to raise from what `torch.export` raised: model, place, reason and a way out."""
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    place = _place(model, error.__traceback__)
    return CaptureError(f"{type(model).__name__} cannot be captured{place}:\n  {reason[:300]}", hint=_hint(str(error)))


def _place(model: nn.Module, trace: TracebackType | None) -> str:
    """Return the last line of the user's code that ran, and the module that it ran in."""
    paths = {id(module): path for path, module in model.named_modules()}
    found = ""
    module_path = ""
    for frame, line in traceback.walk_tb(trace):
        owner = frame.f_locals.get("self")
        if id(owner) in paths and paths[id(owner)]:
            module_path = f" in {paths[id(owner)]}"
        name = frame.f_code.co_filename
        inside = isinstance(owner, nn.Module) and id(owner) in paths
        if inside and not name.startswith(_TORCH):
            found = f" at {name}:{line}"
    return found + module_path


def _hint(text: str) -> str:
    if "data-dependent" in text or "Could not guard" in text or "unbacked" in text:
        return (
            "the model decides by values of tensors; write it with torch.where or torch.cond, or capture a part of it"
        )
    return "capture the part of the model that computes, and keep the rest outside"
