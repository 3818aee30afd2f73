"""Whether a convolution is faster with its image rounded, as the model runs: measured once for each shape."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import MappingProxyType

import torch

from fxcompress.analysis.sizes import concrete
from fxcompress.graph.nodes import argument
from fxcompress.kernels.images import DYNAMIC_CONVOLUTION, pair
from fxcompress.kernels.native import convolution as native
from fxcompress.lowering.choosing import Choice, interleaved, there
from fxcompress.lowering.choosing_convolution import LARGEST_BATCH, Shape
from fxcompress.lowering.claims import Claim
from fxcompress.lowering.images import numbers
from fxcompress.lowering.layouts import lies_channels_last

ops = torch.ops.fxcompress
# The share of the time in floats that the rounded convolution may take: less than that is no gain for the noise.
MOST = 0.9


@dataclass(frozen=True)
class ImageShape:
    """A convolution to be chosen for, and whether its image lies channels last in memory."""

    shape: Shape
    last: bool


def shape_of(claim: Claim) -> ImageShape:
    """Return the shape of a convolution for the example inputs; an image with a length alone has a height of 1."""
    layer = claim.layer
    image = [concrete(size) for size in claim.given.meta["val"].shape]
    weight = [int(size) for size in claim.weight.integers.meta["val"].shape]
    flat = len(image) == 3
    pairs = [
        tuple(pair(numbers(argument(layer, name)), rest if flat else None))
        for name, rest in (("stride", 1), ("padding", 0), ("dilation", 1))
    ]
    if flat:
        image.insert(2, 1)
        weight.insert(2, 1)
    groups, residual = int(argument(layer, "groups")), claim.residual is not None
    shape = Shape(tuple(image), tuple(weight), pairs[0], pairs[1], pairs[2], groups, residual)
    return ImageShape(shape, lies_channels_last(claim.given))


def usable(image: ImageShape, among: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the backends that are there for a convolution, in the order in which they are preferred."""
    shape = image.shape
    return there(DYNAMIC_CONVOLUTION, among, native.serves(shape.weight[0], shape.geometry))


def choose(image: ImageShape, among: tuple[str, ...] = ()) -> Choice:
    """Return the first backend that is there, what it takes, and what the convolution takes in floats."""
    return _measure(image, usable(image, among)[0], torch.get_num_threads())


def saves(choice: Choice) -> bool:
    """Whether the rounded convolution is worth it."""
    return choice.microseconds[choice.backend] < MOST * choice.floats


@functools.cache
def _measure(image: ImageShape, backend: str, threads: int) -> Choice:
    with torch.no_grad():
        sample = _Sample(image)
        took = interleaved({backend: functools.partial(sample.call, backend), "floats": sample.floats})
    floats = took.pop("floats")
    # The pattern rounds in floats, and convolves in them then.
    return Choice(backend, MappingProxyType(took), float("inf"), floats)


class _Sample:
    """Random operands of a shape, with a relu behind."""

    def __init__(self, image: ImageShape) -> None:
        shape, generator = image.shape, torch.Generator().manual_seed(0)
        self.geometry = shape.geometry
        size = (min(shape.image[0], LARGEST_BATCH), *shape.image[1:])
        self.planes = torch.randn(size, generator=generator)
        last = torch.channels_last
        self.image = self.planes.contiguous(memory_format=last) if image.last else self.planes
        self.weight = torch.randint(-127, 128, shape.weight, generator=generator, dtype=torch.int8)
        self.scales, self.bias = torch.full((shape.weight[0],), 0.01), torch.zeros(shape.weight[0])
        self.wide = self.weight.float().mul_(0.01)
        tall, broad = shape.geometry.size(size[2], size[3], shape.weight[2:])
        residual = (size[0], shape.weight[0], tall, broad)
        self.residual = torch.randn(residual, generator=generator) if shape.residual else None
        self.residual_last = None if self.residual is None else self.residual.contiguous(memory_format=last)

    def call(self, backend: str) -> object:
        rounded = ops.round_images(self.image, backend)
        layer = (self.weight, self.scales, self.bias, *map(list, self.geometry[:3]), self.geometry.groups)
        return ops.conv_dynamic(*rounded, *layer, "none", self.residual_last, 0.0, 0, "relu", None, 0, backend)

    def floats(self) -> object:
        """Calculate the layer with nothing rounded but its weights, with planes as most models have them."""
        made = torch.conv2d(self.planes, self.wide, self.bias, *self.geometry)
        if self.residual is not None:
            made += self.residual
        return made.relu_()
