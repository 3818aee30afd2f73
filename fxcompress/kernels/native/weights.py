"""Weights as the native kernels read them: panels of 48 outputs, filled up to whole vectors of 16.

The kernels see a `structure` of addresses; the tensors beside it keep the memory alive.
"""

from __future__ import annotations

import copy
import ctypes
from typing import NamedTuple

import torch
from torch.nn import functional

from fxcompress.kernels.native import structures
from fxcompress.kernels.native.build import kernels
from fxcompress.kernels.native.structures import address

WIDTH = 16
# The share of a dense product that one of kept weights may take, and what a kept four takes beside one of a dense
# product: each byte of the input is read for fewer products.
MOST_KEPT, KEPT_COST = 0.8, {1: 1.4, 2: 1.05}
FEATURES_AT_A_TIME = 4


class Packed:
    """Weights of linears.

    Attributes:
        structure: what the kernels read.
        outputs: how many there are.
    """

    def __init__(
        self, integers: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None, dense: bool = False
    ) -> None:
        """Pack int8 [outputs, features], features divisible by 4, float32 [outputs] and float32 [outputs] or None.

        Weights that are mostly zero lose their zeros, unless `dense`.
        """
        self.outputs, self.features = integers.shape
        self.kept = None if dense else kept_of(integers)
        self.panels = panels_of(integers) if self.kept is None else self.kept.panels
        self.sums = filled_up(integers.sum(1, dtype=torch.int32))
        self.scales = filled_up(scales)
        self.bias = torch.zeros_like(self.scales) if bias is None else filled_up(bias)
        self.structure = self._structure()

    def without_bias(self) -> Packed:
        """Return the same weights, whose products nothing is added to."""
        made = copy.copy(self)
        made.bias = torch.zeros_like(self.bias)
        made.structure = made._structure()
        return made

    @property
    def tensors(self) -> list[torch.Tensor]:
        """Panels, sums, scales and biases, and of weights that lost their zeros the fours and their starts."""
        kept = [] if self.kept is None else [self.kept.fours, self.kept.starts]
        return [self.panels, self.sums, self.scales, self.bias, *kept]

    def _structure(self) -> structures.Weights:
        tensors = (self.panels, self.sums, self.scales, self.bias)
        made = structures.Weights(*map(address, tensors), self.features, self.outputs)
        if self.kept is not None:
            made.fours, made.starts = address(self.kept.fours), address(self.kept.starts)
            made.kept_vectors = self.kept.vectors
        return made


class PackedDigits:
    """Weights of 4 bits, two of them a byte.

    Attributes:
        structure: what the kernels read.
        outputs: how many there are.
    """

    def __init__(
        self, integers: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor | None, group: int,
        bias: torch.Tensor | None,
    ) -> None:  # fmt: skip
        """Pack int8 [outputs, features] within -8..7, features and group even, scales [outputs, features / group]."""
        self.outputs, features = integers.shape
        steps = scales.detach().float()
        # A digit is 8 more than the integer that it stands for.
        shifts = -steps * (8 if zeros is None else zeros.detach().float() + 8)
        self.scales, self.shifts = (filled_up(one).t().contiguous() for one in (steps, shifts))
        self.bias = filled_up(torch.zeros(self.outputs) if bias is None else bias.detach().float())
        self.panels = torch.empty(len(self.bias) * features // 2, dtype=torch.uint8)
        plain = integers.detach().contiguous()
        kernels().fxc_pack_digits(
            ctypes.c_void_p(plain.data_ptr()), ctypes.c_long(self.outputs), ctypes.c_long(features),
            ctypes.c_void_p(self.panels.data_ptr()),
        )  # fmt: skip
        tensors = (self.panels, self.scales, self.shifts, self.bias)
        self.structure = structures.GroupWeights(*map(address, tensors), features, self.outputs, group)


class PackedKernel:
    """Weights of a 2d convolution, group after group.

    Attributes:
        structure: what the kernels read; it speaks of the first group.
        outputs: of one group.
        window: height and width of the kernel.
    """

    def __init__(
        self, weight: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None, groups: int, merged: bool
    ) -> None:
        """Pack int8 [outputs, channels of a group, height, width].

        What the kernel reads in one go, a row of it where they are `merged`, else a pixel, is filled up with zeros to a
        multiple of four.
        """
        self.window = (int(weight.shape[2]), int(weight.shape[3]))
        taps = self.window[0] if merged else self.window[0] * self.window[1]
        runs = weight.permute(0, 2, 3, 1).reshape(weight.shape[0], taps, -1)
        runs = functional.pad(runs, (0, -runs.shape[2] % FEATURES_AT_A_TIME))
        # Every group is packed for itself: its last vectors may be filled up.
        parts = runs.reshape(groups, weight.shape[0] // groups, -1).contiguous()
        steps = scales.reshape(groups, -1)
        biases = [None] * groups if bias is None else list(bias.reshape(groups, -1))
        packed = [Packed(*one, dense=True) for one in zip(parts, steps, biases, strict=True)]
        self.outputs = packed[0].outputs
        names = ("panels", "sums", "scales", "bias")
        self.tensors = tuple(torch.cat([getattr(one, name) for one in packed]) for name in names)
        self.structure = structures.Weights(*map(address, self.tensors), packed[0].features, self.outputs)


def panels_of(integers: torch.Tensor) -> torch.Tensor:
    """Return contiguous int8 [outputs, features] as panels, int8 [outputs filled up * features]."""
    outputs, features = integers.shape
    made = torch.empty((outputs + -outputs % WIDTH) * features, dtype=torch.int8)
    kernels().fxc_pack(
        ctypes.c_void_p(integers.data_ptr()), ctypes.c_long(outputs), ctypes.c_long(features),
        ctypes.c_void_p(made.data_ptr()),
    )  # fmt: skip
    return made


class KeptFours(NamedTuple):
    """What is kept of weights that are mostly zero: for each panel the fours of features that its outputs read.

    Attributes:
        panels: int8 [kept, outputs of a panel, 4].
        fours: int32 [kept], the first feature of each.
        starts: int32 [panels + 1], from where to where the fours of a panel stand.
        vectors: of 16 outputs that a panel has.
    """

    panels: torch.Tensor
    fours: torch.Tensor
    starts: torch.Tensor
    vectors: int


def kept_of(integers: torch.Tensor) -> KeptFours | None:
    """Return what is to be kept of int8 [outputs, features], None where all is: too little would be saved."""
    if int(integers.count_nonzero()) > MOST_KEPT * integers.numel():
        return None
    filled = filled_up(integers)
    # All panels are alike.
    choices = (1, 2) if filled.shape[0] % (2 * WIDTH) == 0 else (1,)
    fours = {vectors: filled.view(-1, vectors * WIDTH, filled.shape[1] // 4, 4).transpose(1, 2) for vectors in choices}
    read = {vectors: one.count_nonzero((2, 3)) > 0 for vectors, one in fours.items()}
    cost = {vectors: float(one.float().mean()) * KEPT_COST[vectors] for vectors, one in read.items()}
    vectors = min(choices, key=lambda one: cost[one])
    if cost[vectors] > MOST_KEPT:
        return None
    kept = read[vectors]
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), kept.sum(1).cumsum(0)]).int()
    return KeptFours(fours[vectors][kept].contiguous(), kept.nonzero()[:, 1].int() * 4, starts, vectors)


def filled_up(numbers: torch.Tensor, width: int = WIDTH) -> torch.Tensor:
    """Return [outputs, ...] with zeros behind, up to a multiple of `width` outputs, in memory of its own."""
    idle = -numbers.shape[0] % width
    return functional.pad(numbers.detach(), (*(0, 0) * (numbers.dim() - 1), 0, idle)).clone()
