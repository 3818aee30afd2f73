"""The plugin `lowrank`: its only hook registers its only pass."""

from __future__ import annotations

from collections.abc import Callable

import fxcompress as fxc
from fxcompress_lowrank.lowrank import LowRank as LowRank


@fxc.hookimpl
def register_passes(register: Callable[[type[fxc.Pass]], None]) -> None:
    register(LowRank)
