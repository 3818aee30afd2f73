"""Says what of a model export does not take, and where it stands."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import torch
from torch import nn

from fxcompress.errors import CaptureError

_LIBRARIES = (str(Path(torch.__file__).parent), str(Path(__file__).parent))

# What the message of export tells of, and the way out.
_HINTS = (
    (
        r"data-dependent|Could not guard|unbacked",
        "the graph would depend on values of tensors: write torch.where or torch.cond, promise a size with "
        "torch._check, or capture the part of the model without it",
    ),
    (
        r"Cache",
        "the model gives or takes a cache object; switch it off (use_cache=False in the config or in the inputs)",
    ),
    (
        r"UninitializedParameter|uninitialized parameter",
        "run the model once on the example inputs, so that its lazy layers are made",
    ),
    (
        r"Unsupported input type|register_pytree_node|output types|pytree",
        "register the class with torch.utils._pytree.register_pytree_node or torch.export.register_dataclass, "
        "or let the model take and give tensors, tuples and dictionaries",
    ),
)


def capture_failure(model: nn.Module, error: Exception) -> CaptureError:
    """Return the error to raise from what `torch.export` raised: model, place, reason and a way out."""
    reason = _first_sentence(str(error))
    text = f"{type(model).__name__} cannot be captured{_place(model, error)}:\n  {type(error).__name__}: {reason}"
    return CaptureError(text, hint=_hint(f"{type(error).__name__} {error}"))


def _first_sentence(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = lines[0] if lines else "no reason given"
    return first if len(first) < 160 else f"{first.partition('. ')[0][:300]}."


def _place(model: nn.Module, error: BaseException) -> str:
    """Return the last line that ran of a module's own code, outside of torch, and the path of the module."""
    paths = {id(module): path or "the model itself" for path, module in model.named_modules()}
    line, scope = "", ""
    for frame, number in _frames(error):
        names = frame.f_code.co_varnames
        owner = paths.get(id(frame.f_locals.get(names[0]))) if names else None
        if owner is not None:
            scope = f" in {owner}"
        if not frame.f_code.co_filename.startswith((*_LIBRARIES, "<")) and (owner is not None or line):
            line = f" at {frame.f_code.co_filename}:{number}"
    return line + scope


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """Yield the frames that an error went through, those of the errors that it was raised from first."""
    inner = error.__cause__ or error.__context__
    if inner is not None:
        yield from _frames(inner)
    yield from traceback.walk_tb(error.__traceback__)


def _hint(text: str) -> str:
    found = (hint for pattern, hint in _HINTS if re.search(pattern, text))
    return next(found, "capture the part of the model that computes, and keep the rest outside")
