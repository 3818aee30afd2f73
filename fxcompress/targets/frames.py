"""Tensors as coded frames: so many elements each, every frame by the coder that makes it smallest."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from fxcompress.coding import Block, decode_block, encode_block
from fxcompress.errors import ArtifactError
from fxcompress.targets.frame_list import FRAME, element_width
from fxcompress.targets.json_text import short
from fxcompress.targets.payloads import Payload, bytes_of, tensor_from


def encode_frames(tensor: torch.Tensor, coding: str) -> Iterator[tuple[str, bytes | memoryview]]:
    """Yield coder and bytes of each frame of `tensor`, none where it is empty."""
    values = np.frombuffer(bytes_of(tensor), f"<u{element_width(tensor.itemsize)}")
    for begin in range(0, values.size, FRAME):
        part = values[begin : begin + FRAME]
        shape = _layout(tuple(tensor.shape), part.size)
        yield encode_block(Block(part.astype(part.dtype.newbyteorder("="), copy=False), shape), coding)


def _layout(shape: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Return how the elements of a frame lie: as the tensor does where they are all of it, else in a row."""
    return shape if math.prod(shape) == count else (count,)


def decode_frames(payload: Payload, read: Callable[[NDArray[np.uint8]], None]) -> torch.Tensor:
    """Return the tensor of a payload.

    Args:
        payload: with the frames that it is made of.
        read: fills an array with the next bytes of the file.

    Raises:
        ArtifactError: bytes that no coder gives.
    """
    content = torch.empty(payload.nbytes, dtype=torch.uint8)
    values = content.numpy().view(f"u{element_width(payload.itemsize)}")
    for index, (coder, size) in enumerate(payload.frames or ()):
        part = values[index * FRAME : (index + 1) * FRAME]
        if coder == "raw" and np.little_endian:
            read(part.view(np.uint8))
            continue
        data = np.empty(size, np.uint8)
        read(data)
        try:
            decode_block(coder, data.data, part)
        except ArtifactError as error:
            raise ArtifactError(f"the tensor {short(payload.name)}: {error.message}") from None
    return tensor_from(payload, content)
