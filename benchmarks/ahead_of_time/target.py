"""A driver that tells Triton of a GPU that is not there."""

from __future__ import annotations

from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.runtime.driver import driver

# Threads of a warp.
WARP = 32


class Absent(DriverBase):  # type: ignore[misc]
    """Answers what a compiler asks, and no more.

    Args:
        arch: 90 for compute capability 9.0.
    """

    def __init__(self, arch: int) -> None:
        self.arch = arch

    @classmethod
    def is_active(cls) -> bool:
        return False

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.arch, WARP)

    def get_current_device(self) -> int:
        # Kernels that are compiled are kept by device.
        return self.arch

    def get_current_stream(self, device: int | None = None) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("meta")

    def map_python_to_cpp_type(self, ty: str) -> str:
        return ty

    def get_benchmarker(self) -> Any:
        raise NotImplementedError("a GPU that is not there measures nothing")


def pretend(arch: int) -> None:
    """Let Triton compile for `arch` from now on, in this process."""
    driver.set_active(Absent(arch))
