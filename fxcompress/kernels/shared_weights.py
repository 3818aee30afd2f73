"""Weights that share a few values: a codebook, and for each weight the place of its value there.

The place 0 stands for a zero that is no entry of the codebook and never learns: that is what masked weights become, and
their symbols are all alike. Weights are shared, and codebooks trained by the gradients of the weights, summed over all
that share a value, as in Han et al., Deep Compression, 2016.
"""

from __future__ import annotations

from typing import Any

import torch

from fxcompress.kernels.library import define, differentiate
from fxcompress.kernels.packing import packed

Tensor = torch.Tensor


def shared_weights(codebook: Tensor, indices: Tensor) -> Tensor:
    """Return the weight that `indices` look up.

    Args:
        codebook: floats [blocks, values]; each block of rows (the first axis of the weight) has values of its own.
        indices: uint8 of the weight's shape: 0 for zero, i for value i - 1. Block b holds rows b * n to b * n + n - 1,
            where n is the number of rows over the number of blocks, rounded up.

    Returns:
        a tensor of the shape of `indices` and of the dtype of `codebook`.
    """
    table = torch.cat([codebook.new_zeros(codebook.shape[0], 1), codebook], 1)
    # Several times as fast as `take`.
    return table.flatten().index_select(0, places_of(indices, codebook).flatten()).view(indices.shape)


def places_of(indices: Tensor, codebook: Tensor) -> Tensor:
    """Return int64 of the shape of `indices`: places in the flat codebook with a zero before each block."""
    blocks, values = codebook.shape
    places = indices.long()
    if blocks == 1:
        return places
    rows = indices.shape[0]
    block = torch.arange(rows, device=indices.device) // rows_of_a_block(rows, blocks)
    return places + (block * (values + 1)).view(-1, *[1] * (indices.dim() - 1))


def rows_of_a_block(rows: int, blocks: int) -> int:
    """Return how many rows share a codebook, of which the last block may have fewer."""
    return -(-rows // blocks)


def held_shared_weights(codebook: Tensor, indices: Tensor) -> Tensor:
    """Return `shared_weights`, looked up once and kept as of `held_channels`; it has no gradient."""
    return packed("held shared", (indices, codebook), lambda: shared_weights(codebook.detach(), indices))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    codebook, indices = inputs
    ctx.save_for_backward(codebook, indices)


def _gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    codebook, indices = ctx.saved_tensors
    blocks, values = codebook.shape
    # Thousands of gradients go into one sum, which float32 would round at each.
    sums = torch.zeros(blocks * (values + 1), dtype=torch.float64, device=gradient.device)
    sums = sums.index_add(0, places_of(indices, codebook).flatten(), gradient.double().flatten())
    return sums.view(blocks, values + 1)[:, 1:].to(codebook.dtype), None


def _fake(codebook: Tensor, indices: Tensor) -> Tensor:
    return codebook.new_empty(indices.shape)


define(
    "shared_weights(Tensor codebook, Tensor indices) -> Tensor", shared_weights, _fake, key="CompositeExplicitAutograd"
)
define("held_shared_weights(Tensor codebook, Tensor indices) -> Tensor", held_shared_weights, _fake)
differentiate("shared_weights", _gradients, _keep)
