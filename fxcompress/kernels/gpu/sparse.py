"""Linears whose weights are stored as the blocks that are not zero."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fxcompress.kernels.gpu.dispatching import on_gpu
from fxcompress.kernels.gpu.plain import check_activation, finished
from fxcompress.kernels.library import define
from fxcompress.kernels.products import rows_of

Tensor = torch.Tensor


def linear_block_sparse(
    input: Tensor,  # noqa: A002
    blocks: Tensor,
    columns: Tensor,
    row_pointers: Tensor | None,
    scales: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    block: Sequence[int],
    outputs: int,
    activation: str,
) -> Tensor:
    """Return `activation(input @ W^T + bias) + residual`, where only some blocks of W are stored.

    Args:
        input: float16, bfloat16 or float32 [..., K].
        blocks: [kept, R, C], block row by block row: of the dtype of the input, or int8 with `scales`.
        columns: int32, the block columns of these; [block rows, kept of each] where all block rows keep equally many,
            else [kept].
        row_pointers: int32 [block rows + 1], where block row i keeps the blocks from `row_pointers[i]` on; None where
            all keep equally many.
        scales: floats [outputs], or None.
        bias: [outputs] or None.
        residual: [..., outputs] or None.
        block: R and C. What lies beyond the edges of W counts for nothing.
        outputs: rows of W.
        activation: one of `POSTS`.

    Returns:
        [..., outputs] of the dtype of the input.
    """
    _check(input, blocks, columns, row_pointers, scales, block, outputs, activation)
    rows = rows_of(input).float()
    tall, width = -(-outputs // block[0]), -(-input.shape[-1] // block[1])
    cells = torch.nn.functional.pad(rows, (0, width * block[1] - rows.shape[1])).view(-1, width, block[1])
    starts = starts_of(columns, row_pointers)
    sums = rows.new_empty(rows.shape[0], tall * block[0])
    for place in range(tall):
        kept = slice(starts[place], starts[place + 1])
        read = cells[:, columns.flatten()[kept].long()].flatten(1)
        sums[:, place * block[0] : (place + 1) * block[0]] = read @ blocks[kept].float().transpose(0, 1).flatten(1).t()
    sums = sums[:, :outputs]
    scaled = sums if scales is None else sums * scales.float().view(-1)
    flat = None if residual is None else residual.reshape(scaled.shape)
    made = finished(scaled.contiguous(), bias, flat, activation, input.dtype)
    return made.view(*input.shape[:-1], outputs)


def starts_of(columns: Tensor, row_pointers: Tensor | None) -> list[int]:
    """Return where the blocks of each block row start, and where the last end."""
    if row_pointers is not None:
        found: list[int] = row_pointers.tolist()
        return found
    tall, kept = columns.shape
    return [row * kept for row in range(tall + 1)]


def _check(
    input: Tensor,  # noqa: A002
    blocks: Tensor,
    columns: Tensor,
    row_pointers: Tensor | None,
    scales: Tensor | None,
    block: Sequence[int],
    outputs: int,
    activation: str,
) -> None:
    """Refuse operands that do not fit one another.

    Raises:
        ValueError: says what does not fit.
    """
    check_activation(activation)
    if list(blocks.shape[1:]) != list(block) or blocks.shape[0] != columns.numel():
        raise ValueError(f"{columns.numel()} blocks of {list(block)} are not {list(blocks.shape)}")
    if (row_pointers is None) != (columns.dim() == 2):
        raise ValueError("columns are [block rows, kept] without row_pointers, and [kept] with them")
    tall = columns.shape[0] if row_pointers is None else row_pointers.shape[0] - 1
    if tall != -(-outputs // block[0]):
        raise ValueError(f"{tall} rows of blocks of {list(block)} are not {outputs} outputs")
    if (blocks.dtype == torch.int8) != (scales is not None) or blocks.dtype not in (input.dtype, torch.int8):
        raise ValueError(f"blocks are of the input's {input.dtype}, or int8 with scales, not {blocks.dtype}")


def _fake(
    input: Tensor,  # noqa: A002
    blocks: Tensor,
    columns: Tensor,
    row_pointers: Tensor | None,
    scales: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    block: Sequence[int],
    outputs: int,
    activation: str,
) -> Tensor:
    _check(input, blocks, columns, row_pointers, scales, block, outputs, activation)
    return input.new_empty((*input.shape[:-1], outputs))


define(
    "gpu_linear_block_sparse(Tensor input, Tensor blocks, Tensor columns, Tensor? row_pointers, Tensor? scales,"
    " Tensor? bias, Tensor? residual, int[] block, int outputs, str activation) -> Tensor",
    linear_block_sparse,
    _fake,
)
on_gpu("gpu_linear_block_sparse", "running_block_sparse.linear_block_sparse", linear_block_sparse)
