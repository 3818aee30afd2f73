"""Linears of activations that are quantized row by row already, so that one quantization serves all who read them.

Tokens are three tensors: uint8 [..., features], float32 scales [...] and int32 zero points [...].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fxcompress.kernels.activations import signed
from fxcompress.kernels.backends import first_available
from fxcompress.kernels.behind import OUTPUTS, Behind
from fxcompress.kernels.finishing import finish
from fxcompress.kernels.library import define_native
from fxcompress.kernels.linear import DYNAMIC, suited
from fxcompress.kernels.native import calls as native
from fxcompress.kernels.products import add_bias, product, rows_of
from fxcompress.kernels.weights import Layers, joined

Tensors = Sequence[torch.Tensor]
Optionals = Sequence[torch.Tensor | None]


def linear_tokens(
    values: torch.Tensor,
    token_scales: torch.Tensor,
    token_zeros: torch.Tensor,
    weights: Tensors,
    scales: Tensors,
    biases: Optionals,
    post: str,
    residual: torch.Tensor | None,
    norm: str,
    norm_weight: torch.Tensor | None,
    norm_bias: torch.Tensor | None,
    eps: float,
    outputs: Sequence[str],
    backend: str,
) -> list[torch.Tensor]:
    """Return the linears of tokens side by side, with what stands behind them.

    Args:
        values, token_scales, token_zeros: uint8 [..., features], float32 [...] and int32 [...].
        weights, scales, biases, backend: as of `linear_dynamic`.
        post, residual, norm, norm_weight, norm_bias, eps, outputs: as of `Behind`.

    Returns:
        The tensors that `outputs` name, of [..., all outputs]; scales and zero points of [...].
    """
    layers = joined(weights, scales, biases)
    behind = Behind(post, rows_or_none(residual), norm, plain(norm_weight), plain(norm_bias), eps, outputs)
    tokens = rows_of(values), token_scales.reshape(-1), token_zeros.reshape(-1)
    chosen = suited(first_available(backend, DYNAMIC), tokens[0])
    if chosen == "native":
        made = native.linear(tokens, layers.native, behind)
    else:
        made = finish(dequantized(tokens, layers, chosen), behind)
    return shaped(made, values.shape[:-1], outputs)


def dequantized(tokens: tuple[torch.Tensor, torch.Tensor, torch.Tensor], layers: Layers, backend: str) -> torch.Tensor:
    """Return the linear of tokens, float32 [rows, outputs], by another backend than `native`."""
    values, scales, zeros = tokens
    made = product(signed(values), layers, backend)
    made.addr_((zeros - 128).float(), layers.sums, alpha=-1).mul_(scales[:, None])
    return add_bias(made, layers.bias)


def finish_rows(
    input: torch.Tensor,  # noqa: A002
    post: str,
    residual: torch.Tensor | None,
    norm: str,
    norm_weight: torch.Tensor | None,
    norm_bias: torch.Tensor | None,
    eps: float,
    outputs: Sequence[str],
    backend: str,
) -> list[torch.Tensor]:
    """Return what stands behind a product, of float32 `input` [..., features]; the rest as of `linear_tokens`."""
    rows = rows_of(input)
    behind = Behind(post, rows_or_none(residual), norm, plain(norm_weight), plain(norm_bias), eps, outputs)
    chosen = first_available(backend, DYNAMIC)
    made = native.finish(rows, behind) if chosen == "native" else finish(rows.clone(), behind)
    return shaped(made, input.shape[:-1], outputs)


def plain(tensor: torch.Tensor | None) -> torch.Tensor | None:
    return None if tensor is None else tensor.detach().contiguous()


def rows_or_none(tensor: torch.Tensor | None) -> torch.Tensor | None:
    return None if tensor is None else rows_of(tensor)


def shaped(made: Sequence[torch.Tensor], leading: Sequence[int], outputs: Sequence[str]) -> list[torch.Tensor]:
    """Return tensors of [rows, ...] with the leading axes of the input."""
    found = iter(made)
    shapes: list[torch.Tensor] = []
    for name in outputs:
        first = next(found)
        shapes.append(first.view(*leading, first.shape[-1]))
        shapes += [next(found).view(leading) for _ in range(OUTPUTS[name] - 1)]
    return shapes


def _fake(input: torch.Tensor, count: int | torch.SymInt, outputs: Sequence[str]) -> list[torch.Tensor]:  # noqa: A002
    shape, made = input.shape[:-1], list[torch.Tensor]()
    for name in outputs:
        wide = torch.float32 if name in ("sum", "out") else torch.uint8
        made.append(input.new_empty((*shape, count), dtype=wide))
        if name == "tokens":
            made += [input.new_empty(shape, dtype=dtype) for dtype in (torch.float32, torch.int32)]
    return made


def _fake_linear(values: torch.Tensor, *rest: object) -> list[torch.Tensor]:
    weights, outputs = rest[2], rest[11]
    return _fake(values, sum(weight.shape[0] for weight in weights), outputs)  # type: ignore[attr-defined, arg-type]


_TAIL = (
    "str post, Tensor? residual, str norm, Tensor? norm_weight, Tensor? norm_bias, float eps, str[] outputs,"
    " str backend) -> Tensor[]"
)
define_native(
    "linear_tokens(Tensor values, Tensor token_scales, Tensor token_zeros, Tensor[] weights, Tensor[] scales,"
    f" Tensor?[] biases, {_TAIL}",
    linear_tokens,
    _fake_linear,
)
define_native(
    f"finish_rows(Tensor input, {_TAIL}",
    finish_rows,
    lambda values, *rest: _fake(values, values.shape[-1], rest[6]),
)
