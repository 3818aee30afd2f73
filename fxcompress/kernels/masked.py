"""A weight with a mask over it: some elements are zero, whatever is stored there, and get no gradient."""

from __future__ import annotations

from typing import Any

import torch

from fxcompress.kernels.library import define, differentiate

Tensor = torch.Tensor


def masked(weight: Tensor, mask: Tensor) -> Tensor:
    """Return `weight` where `mask` is true and +0.0 elsewhere, even where a NaN or an infinity is stored.

    Args:
        weight: floating, of any shape.
        mask: bool, of the shape of `weight`.
    """
    return torch.where(mask, weight, weight.new_zeros(()))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    (mask,) = ctx.saved_tensors
    return masked(gradient, mask), None


define(
    "masked(Tensor weight, Tensor mask) -> Tensor",
    masked,
    masked,
    key="CompositeExplicitAutograd",
    tags=(torch.Tag.pointwise,),
)
differentiate("masked", _gradients, _keep)
