"""Lets torchvision import beside a torch that it has no build of operators for."""

from __future__ import annotations

import functools
import importlib
import sys

import torch


@functools.cache
def import_torchvision() -> torch.library.Library | None:
    """Import torchvision; where its operators are not there, declare the two that its import asks for.

    Returns:
        the library of the declarations, which lives as long as the cache holds it, None where nothing was declared.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision")
        return library
    return None
