"""Calls of the native kernels for images with tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch

from fxcompress.kernels.behind import Behind
from fxcompress.kernels.geometry import Geometry, channels_last
from fxcompress.kernels.native import structures
from fxcompress.kernels.native.build import kernels
from fxcompress.kernels.native.calls import alike, results
from fxcompress.kernels.native.structures import address
from fxcompress.kernels.native.weights import PackedKernel

# Images of fewer channels may lie in planes: they are copied into pixels anyhow.
PLANES = 4
# A group with fewer outputs leaves most of a vector idle.
FEWEST_OUTPUTS = 8


def serves(outputs: int, geometry: Geometry) -> bool:
    """Whether there is a kernel for such a convolution of `outputs` of all groups."""
    return geometry.groups == 1 or outputs // geometry.groups >= FEWEST_OUTPUTS


def merged(geometry: Geometry) -> bool:
    """Whether the bytes of a row of the kernel stand side by side in the image, and are read in one go."""
    return geometry.groups == 1 and geometry.dilation[1] == 1


def convolution(
    image: torch.Tensor, scale: float, zero: int, weights: PackedKernel, geometry: Geometry, behind: Behind
) -> torch.Tensor:
    """Return the 2d convolution of an image of bytes with all that stands behind it.

    Args:
        image: uint8 [batch, channels, height, width].
        scale, zero: its steps and its zero point.
        weights: of the kernel; see `PackedKernel`.
        geometry: how the kernel moves.
        behind: with one output; its residual is [batch, outputs, ...], channels last in memory.

    Returns:
        float32 or uint8 [batch, outputs, height, width], channels last in memory.
    """
    batch, channels, height, width = image.shape
    tall, broad = geometry.size(height, width, weights.window)
    steps = alike(scale, zero)
    if channels >= PLANES:
        image = channels_last(image)
    strides = [image.stride(axis) for axis in (0, 2, 3, 1)]
    structure = structures.Convolution(
        image.data_ptr(), *map(address, steps), batch, height, width, channels, tall, broad, *weights.window,
        *geometry.stride, *geometry.padding, *geometry.dilation, geometry.groups, *strides,
    )  # fmt: skip
    outputs = weights.outputs * geometry.groups
    (made,), into = results(behind, batch * tall * broad, outputs)
    kernels().fxc_convolution(
        ctypes.byref(structure), ctypes.byref(weights.structure), ctypes.byref(into), torch.get_num_threads()
    )
    return made.view(batch, tall, broad, outputs).permute(0, 3, 1, 2)


def max_pool(image: torch.Tensor, window: Sequence[int], geometry: Geometry) -> torch.Tensor:
    """Return the maxima of windows of uint8 [batch, channels, height, width]; both lie channels last in memory."""
    batch, channels, height, width = image.shape
    tall, broad = geometry.size(height, width, window)
    made = torch.empty(batch, tall, broad, channels, dtype=torch.uint8)
    structure = structures.Pooling(
        image.data_ptr(), made.data_ptr(), batch, height, width, channels, tall, broad, *window,
        *geometry.stride, *geometry.padding, *geometry.dilation,
    )  # fmt: skip
    kernels().fxc_max_pool(ctypes.byref(structure), torch.get_num_threads())
    return made.permute(0, 3, 1, 2)
