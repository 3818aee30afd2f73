"""How the kernel of a convolution moves over an image, and how the image lies in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch


class Geometry(NamedTuple):
    """Two numbers each, for height and width; and the number of groups."""

    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    groups: int

    def size(self, height: int, width: int, window: Sequence[int]) -> tuple[int, int]:
        """Return height and width of the result, of an image of `height` and `width` with a kernel of `window`."""
        tall, broad = (
            (given + 2 * pad - far * (wide - 1) - 1) // step + 1
            for given, pad, far, wide, step in zip(
                (height, width), self.padding, self.dilation, window, self.stride, strict=True
            )
        )
        return tall, broad


def channels_last(image: torch.Tensor) -> torch.Tensor:
    """Return [batch, channels, height, width] with the channels of a pixel side by side, in memory without gaps."""
    channels, height, width = image.shape[1:]
    wanted = (channels * height * width, 1, channels * width, channels)
    if image.stride() == wanted:
        return image.detach()
    # `contiguous` leaves an image alone that has one channel or one pixel, whatever its strides.
    return image.detach().permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2).as_strided(image.shape, wanted)
