"""What `forward` took of a model that became a graph: its parameters, and the batch sizes the graph holds for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Constant = bool | int | float | str | None


@dataclass(frozen=True)
class Parameter:
    """A parameter of the `forward` that was captured.

    Attributes:
        name: as in the signature.
        keyword_only: whether it has no position.
        optional: whether it has a default.
        default: the default where it is a plain constant.
    """

    name: str
    keyword_only: bool = False
    optional: bool = False
    default: Constant = None

    def leaves_out(self, value: Any) -> bool:
        """Whether to pass `value` is the same as to leave the argument out."""
        return self.optional and is_constant(value) and same_constant(value, self.default)


@dataclass(frozen=True)
class BatchSizes:
    """The batch sizes that a graph holds for, where it does not hold for all: multiples within bounds."""

    minimum: int = 0
    maximum: int | None = None
    multiple_of: int = 1

    def __contains__(self, size: int) -> bool:
        within = size >= self.minimum and (self.maximum is None or size <= self.maximum)
        return within and size % self.multiple_of == 0

    def __str__(self) -> str:
        words = [f"multiples of {self.multiple_of}"] if self.multiple_of > 1 else []
        words += [f"{self.minimum} or more"] if self.minimum else []
        words += [] if self.maximum is None else [f"{self.maximum} or less"]
        return ", ".join(words) or "any"


def parameters_of(forward: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Return the named parameters of `forward`; those behind `*args` have no position."""
    found = []
    for parameter in inspect.signature(forward).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        optional = parameter.default is not parameter.empty and is_constant(parameter.default)
        default = parameter.default if optional else None
        found.append(Parameter(parameter.name, parameter.kind is parameter.KEYWORD_ONLY, optional, default))
    return tuple(found)


def is_constant(value: Any) -> bool:
    """Whether `value` is a plain constant, which export bakes into a graph."""
    return value is None or isinstance(value, bool | int | float | str)


def same_constant(one: Any, other: Any) -> bool:
    return (one is None) == (other is None) and (one == other or (one != one and other != other))
