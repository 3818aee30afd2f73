"""The plugin `openvino`: its only hook registers its only target."""

from __future__ import annotations

from collections.abc import Callable

import fxcompress as fxc
from fxcompress_openvino.running import OpenVinoModule as OpenVinoModule
from fxcompress_openvino.running import load as load
from fxcompress_openvino.target import OpenVino as OpenVino


@fxc.hookimpl
def register_targets(register: Callable[[type[fxc.Target]], None]) -> None:
    register(OpenVino)
