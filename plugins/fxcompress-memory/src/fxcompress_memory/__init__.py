"""The plugin `memory`: its only hook registers its only instrument."""

from __future__ import annotations

from collections.abc import Callable

import fxcompress as fxc
from fxcompress.pipeline import Instrument
from fxcompress_memory.peak import PeakMemory as PeakMemory


@fxc.hookimpl
def register_instruments(register: Callable[[str, Callable[[], Instrument]], None]) -> None:
    register("memory", PeakMemory)
