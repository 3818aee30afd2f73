"""Looking up rows of int8: only those that are read become floats."""

from __future__ import annotations

import torch

from fxcompress.kernels.library import define_native


def embedding_rows(indices: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Return the rows of an int8 table as floats.

    Args:
        indices: integers of any shape.
        weight: int8 [rows, features].
        scales: float32 [rows].

    Returns:
        float32 [*indices.shape, features], to the bit what a table dequantized as a whole gives.
    """
    flat = indices.reshape(-1)
    steps = scales.detach().reshape(-1).index_select(0, flat)
    found = weight.detach().index_select(0, flat).to(torch.float32).mul_(steps[:, None])
    return found.view(*indices.shape, weight.shape[1])


def _fake(indices: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    return weight.new_empty((*indices.shape, weight.shape[1]), dtype=torch.float32)


define_native("embedding_rows(Tensor indices, Tensor weight, Tensor scales) -> Tensor", embedding_rows, _fake)
