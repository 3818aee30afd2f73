"""Which backend calculates a product fastest here: measured once for each shape, among those that give the same."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch

from fxcompress import kernels
from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.kernels.backends import available
from fxcompress.kernels.native import calls as native

ops = torch.ops.fxcompress
# More rows take longer in proportion; the order of the backends stays.
LARGEST_ROWS = 1024
SECONDS = 0.06
ROUNDS, MOST_ROUNDS = 9, 99
MARGIN = 1.05
# What stands behind a product goes into the native kernel; what that saves is not in the time of the product.
ADVANTAGE = {"native": 0.8}
CANDIDATES = {
    "dynamic": kernels.linear.DYNAMIC,
    "static": kernels.linear.STATIC,
    "weight-only": kernels.linear.WEIGHT_ONLY,
    "groups": kernels.groups.GROUPS,
}


@dataclass(frozen=True)
class Shape:
    """A product to be chosen for: rows of the activation, features, and outputs."""

    kind: str
    rows: int
    features: int
    outputs: int
    group: int = 0


@dataclass(frozen=True)
class Choice:
    """The fastest backend, the microseconds that each took, and those that the pattern itself takes.

    `floats` are those of the layer with nothing rounded but its weights, where that was timed.
    """

    backend: str
    microseconds: Mapping[str, float]
    pattern: float
    floats: float = float("inf")

    @property
    def faster(self) -> bool:
        """Whether the backend is no slower than the pattern as it stands, by more than noise."""
        return self.microseconds[self.backend] < MARGIN * self.pattern

    @property
    def saves(self) -> bool:
        """Whether rounding activations saves time."""
        return self.microseconds[self.backend] * ADVANTAGE.get(self.backend, 1.0) < MARGIN * self.floats


def choose(shape: Shape, among: tuple[str, ...] = ()) -> Choice:
    """Return the fastest backend for `shape`, of those in `among` where any are given.

    Measured at the first time that this process sees the shape, with the threads and backends there are.
    """
    return _measure(shape, usable(shape, among), torch.get_num_threads())


def usable(shape: Shape, among: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the backends that give the same for `shape` and are there, in the order in which they are preferred."""
    wanted = kernels.linear.ONE_ROW if shape.kind == "dynamic" and shape.rows == 1 else CANDIDATES[shape.kind]
    return there(wanted, among, native.serves(shape.features))


def there(wanted: Sequence[str], among: Sequence[str], native_serves: bool) -> tuple[str, ...]:
    """Return those of the backends `wanted` that are here and in `among`, where any are given; at least `float`."""
    fitting = [name for name in wanted if name != "native" or native_serves]
    return tuple(name for name in fitting if available(name) and (not among or name in among)) or ("float",)


@functools.cache
def _measure(shape: Shape, names: tuple[str, ...], threads: int) -> Choice:
    with torch.no_grad():
        sample = _Sample(shape)
        calls: dict[str, Callable[[], object]] = {name: functools.partial(sample.call, name) for name in names}
        others = {"pattern": sample.pattern} | ({"floats": sample.floats} if shape.kind == "dynamic" else {})
        took = interleaved({**calls, **others})
    pattern, floats = took.pop("pattern"), took.pop("floats", float("inf"))
    best = min(took, key=lambda name: took[name] * ADVANTAGE.get(name, 1.0))
    return Choice(best, MappingProxyType(took), pattern, floats)


def interleaved(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return the least microseconds that each call took, called in turn so that noise meets all of them.

    One thread is timed by its own clock, which stands still while others have the processor.
    """
    clock = time.thread_time_ns if torch.get_num_threads() == 1 else time.perf_counter_ns
    took: dict[str, float] = {}
    for call in calls.values():
        call()
    started, rounds = clock(), 0
    # The least of few short calls says little.
    while rounds < ROUNDS or (rounds < MOST_ROUNDS and (clock() - started) * 1e-9 < SECONDS / 4):
        rounds += 1
        for name, call in calls.items():
            # What takes long is timed well by few calls.
            if took.get(name, 0) * 1e-6 * ROUNDS < SECONDS:
                start = clock()
                call()
                took[name] = min(took.get(name, float("inf")), (clock() - start) / 1e3)
    return took


class _Sample:
    """Random operands of a shape."""

    def __init__(self, shape: Shape) -> None:
        self.kind = shape.kind
        generator = torch.Generator().manual_seed(0)
        rows = max(1, min(shape.rows, LARGEST_ROWS))
        self.values = torch.randn(rows, shape.features, generator=generator)
        size = (shape.outputs, shape.features)
        self.weight = torch.randint(-127, 128, size, generator=generator, dtype=torch.int8)
        self.scales = torch.full((shape.outputs,), 0.01)
        self.bias = torch.zeros(shape.outputs)
        self.integers = ops.quantize_u8(self.values, 0.03, 128)
        self.group = shape.group
        if self.group:
            self.weight = self.weight.clamp(-7, 7)
            self.scales = torch.full((shape.outputs, shape.features // self.group), 0.01)
        self.layers = ([self.weight], [self.scales], [self.bias])
        self.wide = self.weight.float() * self.scales[:, None]

    def call(self, backend: str) -> object:
        if self.kind == "static":
            return ops.linear_static(self.integers, 0.03, 128, *self.layers, "none", None, 0, backend)
        if self.kind == "groups":
            return ops.linear_groups(self.values, self.weight, self.scales, None, self.group, self.bias, backend)
        called = ops.linear_dynamic if self.kind == "dynamic" else ops.linear_weight_only
        return called(self.values, *self.layers, backend)

    def floats(self) -> object:
        """Calculate the layer with nothing rounded but its weights."""
        return torch.nn.functional.linear(self.values, self.wide, self.bias)

    def pattern(self) -> object:
        """Calculate what the nodes of the pattern do."""
        decomposed, values = quantized_decomposed(), self.values
        if self.kind == "groups":
            # As it would be left: with floats that are made once.
            held = ops.held_groups(self.weight, self.scales, None, self.group)
            return torch.nn.functional.linear(values, held, self.bias)
        if self.kind == "static":
            values = decomposed.dequantize_per_tensor(self.integers, 0.03, 128, 0, 255, torch.uint8)
        elif self.kind == "dynamic":
            scales, zeros = decomposed.choose_qparams_per_token_asymmetric(values, torch.int8)
            integers = decomposed.quantize_per_token(values, scales, zeros, -128, 127, torch.int8)
            values = decomposed.dequantize_per_token(integers, scales, zeros, -128, 127, torch.int8, torch.float32)
        weight = decomposed.dequantize_per_channel(self.weight, self.scales, None, 0, -127, 127, torch.int8)
        return torch.nn.functional.linear(values, weight, self.bias)
