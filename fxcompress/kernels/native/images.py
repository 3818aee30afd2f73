"""Calls of the native kernels for images that are rounded by their own ranges."""

from __future__ import annotations

import ctypes

import torch

from fxcompress.kernels.behind import Behind
from fxcompress.kernels.geometry import Geometry, channels_last
from fxcompress.kernels.native import structures
from fxcompress.kernels.native.build import kernels
from fxcompress.kernels.native.calls import results
from fxcompress.kernels.native.convolution import PLANES
from fxcompress.kernels.native.structures import address
from fxcompress.kernels.native.weights import PackedKernel

Rounded = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def round_images(image: torch.Tensor) -> Rounded:
    """Return float32 [batch, channels, height, width] as bytes, each image by its own range with 0 in it.

    Returns:
        uint8 of the same shape, channels last in memory, or as the floats lie where a pixel has few channels; float32
        scales [batch] and int32 zero points [batch].
    """
    batch, channels, height, width = image.shape
    planes = image.is_contiguous()
    image = image.detach() if planes else channels_last(image)
    turned = planes and channels >= PLANES
    last = turned or not planes
    shape = (batch, height, width, channels) if last else (batch, channels, height, width)
    made, scales = torch.empty(shape, dtype=torch.uint8), torch.empty(batch)
    zeros = torch.empty(batch, dtype=torch.int32)
    structure = structures.Images(
        *map(address, (image, made, scales, zeros)), batch, height * width, channels, int(turned)
    )
    kernels().fxc_round_images(ctypes.byref(structure), torch.get_num_threads())
    return made.permute(0, 3, 1, 2) if last else made, scales, zeros


def convolution(images: Rounded, weights: PackedKernel, geometry: Geometry, behind: Behind) -> torch.Tensor:
    """Return the 2d convolution of images of bytes, each with its own scale and zero point; see `convolution`.

    Args:
        images: as `round_images` gives them.
        weights, geometry, behind: as of the convolution of images that have one scale.

    Returns:
        float32 or uint8 [batch, outputs, height, width], channels last in memory.
    """
    image, scales, zeros = images
    batch, channels, height, width = image.shape
    tall, broad = geometry.size(height, width, weights.window)
    if channels >= PLANES:
        image = channels_last(image)
    strides = [image.stride(axis) for axis in (0, 2, 3, 1)]
    structure = structures.Convolution(
        *map(address, (image, scales, zeros)), batch, height, width, channels, tall, broad, *weights.window,
        *geometry.stride, *geometry.padding, *geometry.dilation, geometry.groups, *strides,
    )  # fmt: skip
    outputs = weights.outputs * geometry.groups
    (made,), into = results(behind, batch * tall * broad, outputs)
    kernels().fxc_convolve_each(
        ctypes.byref(structure), ctypes.byref(weights.structure), ctypes.byref(into), torch.get_num_threads()
    )
    return made.view(batch, tall, broad, outputs).permute(0, 3, 1, 2)
