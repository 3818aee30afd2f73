"""A kernel with all that it is started with, as a value: it can be run, or compiled for a GPU that is not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

_INTERPRETED = "InterpretedFunction"
# The first generation that makes and multiplies floats of 8 bits.
FP8_FROM = (8, 9)


@dataclass(frozen=True)
class Launch:
    """One start of a kernel.

    Attributes:
        kernel: what `triton.jit` made.
        grid: programs along three axes.
        arguments: tensors and numbers.
        constants: what the kernel is compiled for.
        num_warps, num_stages: groups of 32 threads in a program, and loads under way.
    """

    kernel: Any
    grid: tuple[int, ...]
    arguments: Sequence[Any]
    constants: dict[str, Any] = field(default_factory=dict)
    num_warps: int = 4
    num_stages: int = 2

    def run(self) -> None:
        """Start it on the device of its tensors."""
        device = next(value.device for value in self.arguments if isinstance(value, torch.Tensor))
        if device.type != "cuda":
            self.kernel[self.grid](*self.arguments, **self._all())
            return
        with torch.cuda.device(device):
            self.kernel[self.grid](*self.arguments, **self._all())

    def compiled(self) -> Any:
        """Return the compiled kernel, for the device that Triton has as the active one; tensors may be on `meta`."""
        return self.kernel.warmup(*self.arguments, grid=self.grid, **self._all())

    def _all(self) -> dict[str, Any]:
        # The default of fusing products and sums differs between versions of Triton.
        options = {"num_warps": self.num_warps, "num_stages": self.num_stages, "enable_fp_fusion": True}
        return {**self.constants, **options}


def interpreted(kernel: Any) -> bool:
    """Return whether Python runs `kernel`, which knows no assembly."""
    return type(kernel).__name__ == _INTERPRETED


def run_all(launches: Sequence[Launch]) -> None:
    """Start kernels one after the other."""
    for launch in launches:
        launch.run()


def or_other(tensor: torch.Tensor | None, other: torch.Tensor) -> torch.Tensor:
    """Return some tensor where there is none: a kernel that is not to read it takes it all the same."""
    return other if tensor is None else tensor


def power_of_two(number: int) -> int:
    """Return `number`, or the next power of two above it."""
    return 1 << max(0, number - 1).bit_length()


def capability_of(tensor: torch.Tensor) -> tuple[int, int]:
    """Return the compute capability of the GPU that holds `tensor`; what is elsewhere is for the newest."""
    return torch.cuda.get_device_capability(tensor.device) if tensor.is_cuda else (9, 0)
