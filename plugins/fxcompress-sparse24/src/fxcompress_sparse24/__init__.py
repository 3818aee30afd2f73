"""The plugin `sparse24`: its only hook registers its only kernel."""

from __future__ import annotations

from collections.abc import Callable

import fxcompress as fxc
from fxcompress_sparse24.kernel import SPARSE_24 as SPARSE_24


@fxc.hookimpl
def register_kernels(register: Callable[[fxc.Kernel], None]) -> None:
    register(SPARSE_24)
