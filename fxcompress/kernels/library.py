"""The operator namespace `fxcompress`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

# `torch.library.custom_op` would define the same operators; a call of one takes 8 us where this takes 3, and a small
# linear takes 10.
OPERATORS = torch.library.Library("fxcompress", "FRAGMENT")


def define(
    schema: str,
    implementation: Callable[..., Any],
    fake: Callable[..., Any],
    *,
    key: str = "CPU",
    tags: tuple[torch.Tag, ...] = (),
) -> None:
    """Define the operator of `schema` with its implementation and its rule for types.

    Args:
        schema: as `name(Tensor input, ...) -> Tensor`, without a namespace.
        key: where the implementation runs; `CompositeExplicitAutograd` is every device.
        tags: what PyTorch is told of the operator.
    """
    name = schema.partition("(")[0]
    OPERATORS.define(schema, tags=tags)
    OPERATORS.impl(name, implementation, key)
    torch.library.register_fake(f"fxcompress::{name}", fake, lib=OPERATORS)


def define_native(schema: str, implementation: Callable[..., Any], fake: Callable[..., Any]) -> None:
    """Define an operator of the CPU that `native/boxed` may implement too, as of `define`.

    The implementation in Python stands behind every key, so that the other may take precedence at any time, and
    hand back what it does not serve.
    """

    @functools.wraps(implementation)
    def on_cpu(*arguments: Any) -> Any:
        name = schema.partition("(")[0]
        first = next(one for one in arguments if isinstance(one, torch.Tensor))
        if first.device.type != "cpu":
            raise NotImplementedError(f"fxcompress::{name} is an operator of the CPU, and was given {first.device}")
        return implementation(*arguments)

    define(schema, on_cpu, fake, key="CompositeExplicitAutograd")


def made_when_called(*operands: object) -> Any:
    """Stand for the rule for types of an operator that packs weights, which no graph calls."""
    raise NotImplementedError("weights are packed when a layer is calculated, not before")


def differentiate(name: str, backward: Callable[..., Any], setup: Callable[..., None]) -> None:
    """Give the operator `name` a gradient; see `torch.library.register_autograd`."""
    torch.library.register_autograd(f"fxcompress::{name}", backward, setup_context=setup, lib=OPERATORS)
