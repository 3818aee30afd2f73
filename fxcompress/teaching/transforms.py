"""What is kept of a value: all of it, its mean over places, its largest logits, a projection, another dtype.

    pool            the mean over all dimensions but the batch and the features; `pool:2:3` over dimensions 2 and 3
    project:64      a fixed random projection of the features to 64 numbers; `project:64:7` draws it with seed 7
    topk:8          the 8 largest along the last dimension, where they are, and the tail: the logarithm of the sum of
                    the exponentials of all others; `topk:8:4` at temperature 4
    cast:f16        another dtype: f16, bf16 or f32

The features are the last dimension of a value with up to three, `[batch, tokens, features]`, and dimension 1 of one
with more, `[batch, channels, height, width]`. Several follow each other: `pool|cast:f16`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from fxcompress.errors import PassFailed
from fxcompress.graph.types import SHORT_DTYPES
from fxcompress.teaching.writing import Writer
from fxcompress.text import suggestion

aten = torch.ops.aten
_DTYPES = {short: dtype for dtype, short in SHORT_DTYPES.items() if short in ("f16", "bf16", "f32")}

# The parts of a value of which the largest logits are kept, by what follows the name of the value.
VALUES, INDICES, TAIL = ".values", ".indices", ".tail"


class Step(Protocol):
    """One transform; prints as the words that make it."""

    def apply(self, writer: Writer, parts: dict[str, Any]) -> dict[str, Any]:
        """Return the parts of a value, by what follows its name; a whole value has the one part `""`."""


@dataclass(frozen=True)
class Transform:
    """Transforms one after the other; none for the value as it is."""

    steps: tuple[Step, ...] = ()

    @staticmethod
    def parse(words: list[str]) -> Transform:
        """Return the transform that words such as `topk:8` spell.

        Raises:
            PassFailed: there is no such transform, or it takes other numbers.
        """
        steps = tuple(_step(word) for word in words)
        tops = [at for at, step in enumerate(steps) if isinstance(step, TopK)]
        if tops and not all(isinstance(step, Cast) for step in steps[tops[0] + 1 :]):
            raise PassFailed(f"{'|'.join(words)!r}: behind topk stands a cast or nothing")
        return Transform(steps)

    def apply(self, writer: Writer, value: Any) -> dict[str, Any]:
        """Return the parts of what is kept of `value`, by what follows its name."""
        parts = {"": value}
        for step in self.steps:
            parts = step.apply(writer, parts)
        return parts

    @property
    def parts(self) -> tuple[str, ...]:
        """What follows the name of a value in the names of its parts; `("",)` where it stays one tensor."""
        return (VALUES, INDICES, TAIL) if self.top is not None else ("",)

    @property
    def top(self) -> TopK | None:
        """The step that keeps the largest logits, None where there is none."""
        return next((step for step in self.steps if isinstance(step, TopK)), None)

    def at(self, temperature: float) -> Transform:
        """Return the same with the tails of logits at `temperature`, where the text names none."""
        return Transform(tuple(step.at(temperature) if isinstance(step, TopK) else step for step in self.steps))

    def __str__(self) -> str:
        return "|".join(map(str, self.steps))


@dataclass(frozen=True)
class Pool:
    """The mean over places; over `dims` where they are given."""

    dims: tuple[int, ...] = ()

    def apply(self, writer: Writer, parts: dict[str, Any]) -> dict[str, Any]:
        given = writer.tensor(parts[""])
        dims = [dim for dim in self.dims or range(1, given.dim()) if self.dims or dim != feature_dim(given.dim())]
        if not dims:
            return parts
        if min(dims) < 1 or max(dims) >= given.dim():
            raise PassFailed(f"{self}: the value has the dimensions 0 (the batch) to {given.dim() - 1}")
        return {"": writer.call(aten.mean.dim, parts[""], dims)}

    def __str__(self) -> str:
        return ":".join(["pool", *map(str, self.dims)])


@dataclass(frozen=True)
class Project:
    """A random projection of the features, which about keeps distances (Johnson and Lindenstrauss, 1984)."""

    size: int
    seed: int = 0

    def apply(self, writer: Writer, parts: dict[str, Any]) -> dict[str, Any]:
        value = parts[""]
        given = writer.tensor(value)
        dim = feature_dim(given.dim())
        count = int(given.shape[dim])
        matrix = writer.constant(f"projection_{count}_{self.size}_{self.seed}", lambda: self.matrix(count), value)
        if dim == given.dim() - 1:
            return {"": writer.call(aten.matmul.default, value, matrix)}
        moved = writer.call(aten.transpose.int, value, dim, -1)
        return {"": writer.call(aten.transpose.int, writer.call(aten.matmul.default, moved, matrix), dim, -1)}

    def matrix(self, count: int) -> torch.Tensor:
        """Return float32 [count, size]: normal numbers, so that lengths are kept on average."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(count, self.size, generator=generator) / math.sqrt(self.size)

    def __str__(self) -> str:
        return f"project:{self.size}:{self.seed}"


@dataclass(frozen=True)
class TopK:
    """The largest logits of each row, and what all others come to at `temperature`; 1 where it is None."""

    count: int
    temperature: float | None = None

    def apply(self, writer: Writer, parts: dict[str, Any]) -> dict[str, Any]:
        value = parts[""]
        count = min(self.count, int(writer.tensor(value).shape[-1]))
        found = writer.call(aten.topk.default, value, count)
        values, indices = writer.part(found, 0), writer.part(found, 1)
        rest = writer.call(aten.scatter.value, value, -1, indices, -math.inf)
        if self.temperature not in (None, 1.0):
            rest = writer.call(aten.div.Tensor, rest, self.temperature)
        return {VALUES: values, INDICES: indices, TAIL: writer.call(aten.logsumexp.default, rest, [-1])}

    def at(self, temperature: float) -> TopK:
        return self if self.temperature is not None else replace(self, temperature=temperature)

    def __str__(self) -> str:
        return f"topk:{self.count}" + ("" if self.temperature is None else f":{self.temperature:g}")


@dataclass(frozen=True)
class Cast:
    """Another dtype for what is floating point."""

    dtype: torch.dtype

    def apply(self, writer: Writer, parts: dict[str, Any]) -> dict[str, Any]:
        return {
            name: writer.call(aten.to.dtype, value, self.dtype) if writer.tensor(value).is_floating_point() else value
            for name, value in parts.items()
        }

    def __str__(self) -> str:
        return f"cast:{SHORT_DTYPES[self.dtype]}"


def feature_dim(dims: int) -> int:
    """Return which dimension of a value with so many holds the features: 1 of images and videos, else the last."""
    return 1 if dims > 3 else dims - 1


def with_tail(parts: Mapping[str, torch.Tensor], name: str, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where the largest logits of the value `name` are, int64 [..., k], and logits [..., k + 1] with the tail.

    A softmax of these logits is the teacher's distribution at `temperature`, with all other classes as one: the last.

    Args:
        parts: what a teacher answered.
        temperature: that of the transform; the tail holds for no other.
    """
    logits, tail = parts[name + VALUES], parts[name + TAIL]
    return parts[name + INDICES].long(), torch.cat([logits / temperature, tail.unsqueeze(-1)], -1)


def _step(word: str) -> Step:
    name, *numbers = word.split(":")
    makers = {"pool": _pool, "project": _project, "topk": _topk, "cast": _cast}
    if name not in makers:
        raise PassFailed(f"there is no transform {name!r}", hint=suggestion(name, makers))
    try:
        return makers[name](numbers)
    except (ValueError, KeyError, IndexError, TypeError):
        raise PassFailed(f"the transform {word!r} does not read", hint=f"such as {_EXAMPLES[name]}") from None


_EXAMPLES = {
    "pool": "pool or pool:2:3",
    "project": "project:64 or project:64:7 with a seed",
    "topk": "topk:8 or topk:8:4 at temperature 4",
    "cast": "cast:f16, cast:bf16 or cast:f32",
}


def _pool(numbers: list[str]) -> Step:
    return Pool(tuple(map(int, numbers)))


def _project(numbers: list[str]) -> Step:
    return Project(_positive(numbers[0]), *map(int, numbers[1:]))


def _topk(numbers: list[str]) -> Step:
    made = TopK(_positive(numbers[0]), *map(float, numbers[1:]))
    if made.temperature is not None and not made.temperature > 0:
        raise ValueError
    return made


def _cast(numbers: list[str]) -> Step:
    (short,) = numbers
    return Cast(_DTYPES[short])


def _positive(word: str) -> int:
    if int(word) < 1:
        raise ValueError
    return int(word)
