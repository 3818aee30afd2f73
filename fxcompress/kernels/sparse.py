"""Linears of floats whose weights are mostly zero.

| form      | what is kept                                                        | calculated by               |
|-----------|---------------------------------------------------------------------|-----------------------------|
| `panels`  | for 16 or 32 outputs side by side the features that any of them reads | C++ of ours (`native`)      |
| `rows`    | for each output the features that it reads                          | C++ of ours (`native`)      |
| `columns` | the features that any output reads                                  | a dense product of torch    |
| `csr`     | for each output the features that it reads                          | `torch.sparse.mm`, with MKL |
| `dense`   | all                                                                 | a dense product of torch    |
"""

from __future__ import annotations

import warnings

import torch
from torch.nn import functional

from fxcompress.kernels.backends import available
from fxcompress.kernels.library import define, define_native, made_when_called
from fxcompress.kernels.native import sparse as native
from fxcompress.kernels.packing import packed
from fxcompress.kernels.products import rows_of

FORMS = ("panels", "rows", "columns", "csr", "dense")
NATIVE = FORMS[:2]


def forms_here() -> tuple[str, ...]:
    """Return the forms that can be calculated here."""
    return tuple(filter(_is_here, FORMS))


def _is_here(form: str) -> bool:
    if form in NATIVE:
        return available("native")
    return form != "csr" or torch.backends.mkl.is_available()


def linear_sparse(
    input: torch.Tensor,  # noqa: A002
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    form: str,
) -> torch.Tensor:
    """Return the linear of an input with a weight that is mostly zero.

    Args:
        input: float32 [..., features].
        weight: float32 [outputs, features], with its zeros; what is not zero is packed at the first call.
        bias: float32 [outputs] or None.
        form: one of `FORMS`; where it is not there, the next that is.

    Returns:
        float32 [..., outputs].
    """
    rows = rows_of(input)
    made = _linear(rows, weight, bias, form) if rows.numel() else functional.linear(rows, weight, bias)
    return made.view(*input.shape[:-1], weight.shape[0])


def _linear(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, form: str) -> torch.Tensor:
    chosen = next(filter(_is_here, FORMS[FORMS.index(form) :]))
    if chosen in NATIVE:
        return native.linear(rows, nonzeros_of(weight, bias, chosen))
    if chosen == "columns":
        columns, read = packed("columns", (weight,), lambda: read_columns(weight.detach()))
        return functional.linear(rows.index_select(1, columns), read, bias)
    if chosen == "csr":
        stored = packed("csr", (weight,), lambda: compressed_rows(weight.detach()))
        made: torch.Tensor = torch.sparse.mm(stored, rows.t().contiguous()).t()
        return (made if bias is None else made + bias).contiguous()
    return functional.linear(rows, weight, bias)


def nonzeros_of(weight: torch.Tensor, bias: torch.Tensor | None, form: str) -> native.Kept:
    """Return what is not zero of a weight, in one of the forms of the native kernels."""
    make = native.panels_of if form == "panels" else native.rows_of
    return packed(form, (weight, bias), lambda: make(weight.detach(), bias))


def packed_nonzeros(weight: torch.Tensor, bias: torch.Tensor | None, form: str) -> list[torch.Tensor]:
    """Return the tensors of `nonzeros_of`, for `native/boxed`: weights are [kept, outputs of a panel], or [kept]."""
    kept = nonzeros_of(weight, bias, form)
    return [kept.weights, kept.features, kept.starts, kept.bias]


def read_columns(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the columns of [outputs, features] that are not all zero, int64, and the weight of these."""
    columns = weight.count_nonzero(0).nonzero().flatten()
    return columns, weight.index_select(1, columns)


def compressed_rows(weight: torch.Tensor) -> torch.Tensor:
    """Return a matrix as torch's sparse CSR."""
    with warnings.catch_warnings():
        # It is said once in a process that CSR is in beta state; users of a lowered module cannot change that.
        warnings.simplefilter("ignore")
        return weight.to_sparse_csr()


def _fake(input: torch.Tensor, weight: torch.Tensor, *rest: object) -> torch.Tensor:  # noqa: A002
    return input.new_empty((*input.shape[:-1], weight.shape[0]))


define("packed_nonzeros(Tensor weight, Tensor? bias, str form) -> Tensor[]", packed_nonzeros, made_when_called)
define_native("linear_sparse(Tensor input, Tensor weight, Tensor? bias, str form) -> Tensor", linear_sparse, _fake)
