"""Float weights that are mostly zero, as the native kernels read them, and the calls."""

from __future__ import annotations

import ctypes

import torch

from fxcompress.kernels.native import structures
from fxcompress.kernels.native.build import kernels
from fxcompress.kernels.native.structures import address
from fxcompress.kernels.native.weights import WIDTH, filled_up

# What a feature of a panel of 16 outputs takes, where one of a panel of 32 takes twice as much as this: each value of
# the input is read for half as many products.
NARROW = 1.4


class Kept:
    """What is not zero of a weight.

    Attributes:
        structure: what the kernels read.
        vectors: of 16 outputs that stand side by side; 0 where each output stands for itself.
    """

    def __init__(
        self, weights: torch.Tensor, features: torch.Tensor, counts: torch.Tensor, weight: torch.Tensor,
        bias: torch.Tensor | None, vectors: int,
    ) -> None:  # fmt: skip
        """Keep `weights` of the `features` of one panel after the other, which reads as many as `counts` says."""
        self.outputs, self.inputs = weight.shape
        self.vectors = vectors
        starts = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
        self.weights, self.features, self.starts = weights.contiguous(), features.int(), starts.int()
        self.bias = filled_up(torch.zeros(self.outputs) if bias is None else bias.detach(), 2 * WIDTH)
        tensors = (self.weights, self.features, self.starts, self.bias)
        self.structure = structures.Kept(*map(address, tensors), self.inputs, self.outputs, max(vectors, 1))


def panels_of(weight: torch.Tensor, bias: torch.Tensor | None) -> Kept:
    """Return float32 [outputs, features] as panels of 16 or 32 outputs with the features that any of these reads."""
    filled = filled_up(weight, 2 * WIDTH)
    narrow, broad = (read_by(filled, vectors * WIDTH) for vectors in (1, 2))
    vectors = 1 if NARROW * int(narrow.sum()) < 2 * int(broad.sum()) else 2
    read = (narrow, broad)[vectors - 1]
    panels = filled.view(len(read), vectors * WIDTH, -1).transpose(1, 2)
    return Kept(panels[read], read.nonzero()[:, 1], read.sum(1), weight, bias, vectors)


def rows_of(weight: torch.Tensor, bias: torch.Tensor | None) -> Kept:
    """Return float32 [outputs, features] with the features that each output reads."""
    read = weight != 0
    return Kept(weight.detach()[read], read.nonzero()[:, 1], read.sum(1), weight, bias, 0)


def read_by(weight: torch.Tensor, outputs: int) -> torch.Tensor:
    """Return which features any of so many outputs side by side reads, bool [panels, features]."""
    return weight.view(-1, outputs, weight.shape[1]).count_nonzero(1) > 0


def linear(rows: torch.Tensor, kept: Kept) -> torch.Tensor:
    """Return the linear of contiguous float32 [rows, features], float32 [rows, outputs]."""
    made = torch.empty(rows.shape[0], kept.outputs)
    call = kernels().fxc_sparse_panels if kept.vectors else kernels().fxc_sparse_rows
    call(
        ctypes.c_void_p(rows.data_ptr()), ctypes.c_long(rows.shape[0]), ctypes.byref(kept.structure),
        ctypes.c_void_p(made.data_ptr()), torch.get_num_threads(),
    )  # fmt: skip
    return made
