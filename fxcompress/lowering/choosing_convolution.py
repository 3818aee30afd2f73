"""Which backend convolves fastest here: measured once for each shape."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import torch

from fxcompress.analysis.sizes import concrete
from fxcompress.graph.nodes import argument
from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.kernels.convolution import CONVOLUTION
from fxcompress.kernels.geometry import Geometry
from fxcompress.kernels.native import convolution as native
from fxcompress.lowering.choosing import Choice, interleaved, there
from fxcompress.lowering.claims import Claim
from fxcompress.lowering.rewriting import pair

ops = torch.ops.fxcompress
# Of a larger batch this much is timed: the time grows in proportion.
LARGEST_BATCH = 2


@dataclass(frozen=True)
class Shape:
    """A convolution to be chosen for: [batch, channels, height, width], [outputs, ...], and pairs of numbers."""

    image: tuple[int, ...]
    weight: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    residual: bool

    @property
    def geometry(self) -> Geometry:
        return Geometry(self.stride, self.padding, self.dilation, self.groups)


def shape_of(claim: Claim) -> Shape:
    """Return the shape of a convolution for the example inputs."""
    layer, weight = claim.layer, claim.weight.integers
    image = tuple(concrete(size) for size in argument(layer, "input").meta["val"].shape)
    stride, padding, dilation = (tuple(pair(argument(layer, name))) for name in ("stride", "padding", "dilation"))
    sizes, groups = tuple(weight.meta["val"].shape), int(argument(layer, "groups"))
    return Shape(image, sizes, stride, padding, dilation, groups, claim.residual is not None)


def usable(shape: Shape, among: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the backends that are there for `shape`, in the order in which they are preferred."""
    serves = native.serves(shape.weight[0], shape.geometry)
    return there(CONVOLUTION, among, serves)


def choose(shape: Shape, among: tuple[str, ...] = ()) -> Choice:
    """Return the fastest backend for `shape`, of those in `among` where any are given."""
    return _measure(shape, usable(shape, among), torch.get_num_threads())


@functools.cache
def _measure(shape: Shape, names: tuple[str, ...], threads: int) -> Choice:
    with torch.no_grad():
        sample = _Sample(shape)
        calls: dict[str, Callable[[], object]] = {name: functools.partial(sample.call, name) for name in names}
        took = interleaved({**calls, "pattern": sample.pattern})
    pattern = took.pop("pattern")
    return Choice(min(took, key=lambda name: took[name]), MappingProxyType(took), pattern)


class _Sample:
    """Random operands of a shape, as a layer between others has them: bytes in, relu, bytes out."""

    def __init__(self, shape: Shape) -> None:
        self.geometry = tuple(map(list, shape.geometry[:3])), shape.groups
        generator = torch.Generator().manual_seed(0)
        size = (min(shape.image[0], LARGEST_BATCH), *shape.image[1:])
        image = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
        self.image = image.contiguous(memory_format=torch.channels_last)
        self.weight = torch.randint(-127, 128, shape.weight, generator=generator, dtype=torch.int8)
        tall, broad = shape.geometry.size(size[2], size[3], shape.weight[2:])
        self.residual: torch.Tensor | None = None
        if shape.residual:
            added = torch.randint(0, 256, (size[0], shape.weight[0], tall, broad), dtype=torch.uint8)
            self.residual = added.contiguous(memory_format=torch.channels_last)
        self.scales, self.bias = torch.full((shape.weight[0],), 0.01), torch.zeros(shape.weight[0])

    def call(self, backend: str) -> object:
        (stride, padding, dilation), groups = self.geometry
        layer = (self.weight, self.scales, self.bias, stride, padding, dilation, groups)
        behind = ("none", self.residual, 0.03, 128, "relu", 0.03, 128)
        return ops.conv_static(self.image, 0.03, 128, *layer, *behind, backend)

    def pattern(self) -> object:
        """Calculate what the nodes of the pattern do."""
        decomposed, ((stride, padding, dilation), groups) = quantized_decomposed(), self.geometry
        image = decomposed.dequantize_per_tensor(self.image, 0.03, 128, 0, 255, torch.uint8)
        weight = decomposed.dequantize_per_channel(self.weight, self.scales, None, 0, -127, 127, torch.int8)
        made = torch.conv2d(image, weight, self.bias, stride, padding, dilation, groups)
        if self.residual is not None:
            made += decomposed.dequantize_per_tensor(self.residual, 0.03, 128, 0, 255, torch.uint8)
        return decomposed.quantize_per_tensor(made.relu_(), 0.03, 128, 0, 255, torch.uint8)
