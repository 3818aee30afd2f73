"""The operator: a linear whose weight has two zeros in every four neighbours of a row."""

from __future__ import annotations

import warnings

import torch
from torch.nn import functional

from fxcompress.kernels.packing import packed

Tensor = torch.Tensor


@torch.library.custom_op("fxcompress_sparse24::linear", mutates_args=(), device_types="cpu")
def linear(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
    """Return `input @ weight^T + bias`.

    The weight is stored as it is, zeros and all. On a GPU it is packed when it is first asked for, and what was packed
    is kept beside it.

    Args:
        input: float16 or bfloat16 [..., K].
        weight: [N, K], of which every four neighbours of a row, from the first on, hold two zeros at least.
        bias: [N] or None.
    """
    return functional.linear(input, weight, bias)


@linear.register_kernel("cuda")
def on_gpu(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
    rows = input.reshape(-1, input.shape[-1])
    made: Tensor = functional.linear(rows, packed("2:4", (weight,), lambda: semi_structured(weight)), bias)
    return made.reshape(*input.shape[:-1], weight.shape[0])


def semi_structured(weight: Tensor) -> Tensor:
    """Return a 2:4 weight on a GPU as torch's sparse tensor cores take it."""
    with warnings.catch_warnings():
        # It is said once in a process that these tensors are in beta state; users of a lowered module cannot help it.
        warnings.simplefilter("ignore")
        return torch.sparse.to_sparse_semi_structured(weight.detach())


@linear.register_fake
def _(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
    return input.new_empty((*input.shape[:-1], weight.shape[0]))
