"""Whether a layer of floats is faster in bfloat16: measured once for each shape."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch.fx import Node

from fxcompress.analysis.sizes import concrete
from fxcompress.graph.nodes import argument, is_call
from fxcompress.kernels.products import activated
from fxcompress.lowering.choosing import LARGEST_ROWS, interleaved
from fxcompress.lowering.choosing_convolution import LARGEST_BATCH
from fxcompress.lowering.images import numbers

aten, ops = torch.ops.aten, torch.ops.fxcompress
# The share of the time in float32 that the same in bfloat16 may take: less than that is no gain for what is lost.
MOST = 0.9


class Shape(NamedTuple):
    """A layer to be chosen for: sizes of its input and weight, how a kernel moves, and its activation function."""

    given: tuple[int, ...]
    weight: tuple[int, ...]
    geometry: tuple[Any, ...]
    post: str


def measured(layer: Node, post: str) -> Mapping[str, float]:
    """Return the microseconds that a linear or convolution takes in `bf16` and in `floats`, with `post` behind."""
    given = tuple(concrete(size) for size in argument(layer, "input").meta["val"].shape)
    weight = tuple(int(size) for size in argument(layer, "weight").meta["val"].shape)
    if is_call(layer, aten.linear.default):
        return _measure(Shape((math.prod(given[:-1]), given[-1]), weight, (), post), torch.get_num_threads())
    moves = [tuple(numbers(argument(layer, name))) for name in ("stride", "padding", "dilation")]
    geometry = (*moves, int(argument(layer, "groups")))
    return _measure(Shape(given, weight, geometry, post), torch.get_num_threads())


def saves(took: Mapping[str, float]) -> bool:
    """Whether bfloat16 is worth it."""
    return took["bf16"] < MOST * took["floats"]


@functools.cache
def _measure(shape: Shape, threads: int) -> Mapping[str, float]:
    with torch.no_grad():
        return MappingProxyType(interleaved(_calls(shape)))


def _calls(shape: Shape) -> dict[str, Callable[[], object]]:
    """Return both ways for random operands; the input is float32 before, and the result behind."""
    generator = torch.Generator().manual_seed(0)
    most = LARGEST_BATCH if shape.geometry else LARGEST_ROWS
    given = torch.randn(min(shape.given[0], most), *shape.given[1:], generator=generator)
    weight, bias = torch.randn(shape.weight, generator=generator), torch.zeros(shape.weight[0])
    geometry = tuple(list(one) if isinstance(one, tuple) else one for one in shape.geometry)
    floats: Any = torch.nn.functional.linear
    if geometry:
        floats = (torch.conv1d, torch.conv2d, torch.conv3d)[given.dim() - 3]
    narrow = ops.conv_bf16.default if geometry else ops.linear_bf16.default
    return {
        "bf16": lambda: narrow(given.to(torch.bfloat16), weight, None, bias, *geometry, shape.post, False),
        "floats": lambda: activated(floats(given, weight, bias, *geometry), shape.post),
    }
