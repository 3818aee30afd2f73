"""Scaled dot-product attention with its result where the layer behind it reads it without a copy."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from fxcompress.kernels import library
from fxcompress.kernels.backends import first_available
from fxcompress.kernels.native import calls as native

ATTENTION = ("native", "float")


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    causal: bool,
    scale: float,
    backend: str,
) -> torch.Tensor:
    """Return what `scaled_dot_product_attention` does, in float32.

    Args:
        query: float32 [batch, heads, rows, features].
        key, value: float32 [batch, heads or a divisor of them, columns, features].
        mask: of a shape that expands to [batch, heads, rows, columns]: bool, or float32 to be added to the scores.
        causal: row i sees columns 0 to i.
        scale: of the scores.
        backend: what to calculate with; where it is not there, the next best.

    Returns:
        float32 [batch, heads, rows, features], a view of contiguous [batch, rows, heads, features].
    """
    query, key, value = (side_by_side(one) for one in (query, key, value))
    batch, heads, rows, _ = query.shape
    if first_available(backend, ATTENTION) == "native" and query.numel() and key.numel():
        added = None if mask is None else as_added(mask).expand(batch, heads, rows, key.shape[2])
        return native.attention(query, key, value, added, causal, scale)
    return torchs(query, key, value, mask, causal, scale).transpose(1, 2).contiguous().transpose(1, 2)


def torchs(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, causal: bool, scale: float
) -> torch.Tensor:
    """Return the same by torch's own operator."""
    grouped = key.shape[1] != query.shape[1]
    return functional.scaled_dot_product_attention(
        query, key, value, mask, is_causal=causal, scale=scale, enable_gqa=grouped
    )


def side_by_side(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor, copied where the features of a row do not stand side by side."""
    plain = tensor.detach()
    return plain if plain.stride(3) == 1 else plain.contiguous()


def as_added(mask: torch.Tensor) -> torch.Tensor:
    """Return what a mask adds to the scores, float32: a bool one shuts out what is False."""
    if mask.dtype != torch.bool:
        return mask.detach()
    return torch.zeros_like(mask, dtype=torch.float32).masked_fill_(~mask, float("-inf"))


def _fake(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *rest: object) -> torch.Tensor:
    batch, heads, rows, _ = query.shape
    return query.new_empty(batch, rows, heads, value.shape[3]).transpose(1, 2)


library.define_native(
    "attention(Tensor query, Tensor key, Tensor value, Tensor? mask, bool causal, float scale, str backend) -> Tensor",
    attention,
    _fake,
)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.numbers = inputs[4:6]


def _backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    """Differentiate torch's operator at the same place: what is wanted is the exact gradient, not a fast one."""
    needed = ctx.needs_input_grad[:4]
    given: list[Any] = [None if one is None else one.detach() for one in ctx.saved_tensors]
    wanted = [one.requires_grad_() for one, need in zip(given, needed, strict=True) if need]
    with torch.enable_grad():
        made = torchs(*given, *ctx.numbers)
    found = iter(torch.autograd.grad(made, wanted, gradient))
    return *(next(found) if need else None for need in needed), None, None, None


library.differentiate("attention", _backward, _keep)
