"""The GPUs that times are predicted for: one file each, named as compilers name the architecture."""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from types import MappingProxyType

import torch

from fxcompress.contract.kernels import Device
from fxcompress.errors import UsageError
from fxcompress.text import suggestion

FOLDER = files("fxcompress") / "lowering" / "gpu" / "devices"
# Where neither an option nor a GPU at hand says which.
ASSUMED = "sm_90"


def known() -> list[str]:
    """Return the architectures that there are numbers of."""
    return sorted(path.name.removesuffix(".json") for path in FOLDER.iterdir() if path.name.endswith(".json"))


@functools.cache
def device_named(arch: str) -> Device:
    """Return the GPU of an architecture.

    Raises:
        UsageError: there are no numbers of it, with the nearest name.
    """
    if arch not in known():
        raise UsageError(f"there are no numbers of a GPU of architecture {arch!r}", hint=suggestion(arch, known()))
    read = json.loads((FOLDER / f"{arch}.json").read_text(encoding="utf-8"))
    tables = (MappingProxyType(read[name]) for name in ("operations", "fractions"))
    return Device(read["arch"], read["name"], read["bandwidth"], next(tables), read["launch"], next(tables))


def at_hand() -> str | None:
    """Return the architecture of the GPU here, or the nearest below it that there are numbers of; None without one."""
    if not torch.cuda.is_available():
        return None
    major, minor = torch.cuda.get_device_capability()
    below = [arch for arch in known() if int(arch.removeprefix("sm_")) <= 10 * major + minor]
    return max(below, key=lambda arch: int(arch.removeprefix("sm_")), default=ASSUMED)
