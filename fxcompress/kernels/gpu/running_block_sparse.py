"""Linears of stored blocks on a GPU: which configuration, and the kernels that are started."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fxcompress.kernels.gpu.configurations import sizes_of
from fxcompress.kernels.gpu.jit_block_sparse import block_sparse_kernel
from fxcompress.kernels.gpu.launching import Launch, capability_of, or_other, power_of_two, run_all
from fxcompress.kernels.gpu.reducing import reduction
from fxcompress.kernels.gpu.table_files import Capability, Config, table_for
from fxcompress.kernels.products import rows_of

Tensor = torch.Tensor
# Columns of the input that a step along K takes, by the bytes of an element.
STEP = {2: 64, 4: 32}
MOST_PARTS, FEWEST_STEPS = 8, 4


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
    """See `fxcompress.kernels.gpu.sparse.linear_block_sparse`."""
    rows = rows_of(input)
    output = input.new_empty((*input.shape[:-1], outputs))
    if output.numel():
        flat = None if residual is None else residual.contiguous()
        kept = (blocks.shape[0], int(block[0]), int(block[1]), blocks.dtype == torch.int8)
        config = configuration(capability_of(rows), len(rows), outputs, *kept, rows.element_size())
        operands = (blocks.contiguous(), columns.contiguous(), row_pointers, scales, bias)
        run_all(launches(rows, *operands, flat, output, activation, config))
    return output


def configuration(
    capability: Capability, rows: int, outputs: int, kept: int, height: int, width: int, narrow: bool, size: int
) -> Config:
    """Return how to cut a product: as a table says, else by estimate.

    Args:
        kept: blocks of `height` outputs by `width` columns, in int8 where `narrow`.
        size: bytes of an element of the input.
    """
    table, columns = table_for(capability), features_of(outputs, kept, height, width)
    found = None if table is None else table.find(table_key(height, width, narrow), rows, outputs, columns, 0)
    return found or estimated(capability, rows, outputs, columns, height, width, size)


def table_key(height: int, width: int, narrow: bool) -> str:
    """Return the name under which tables have blocks of a size; k is the columns that a row of blocks keeps."""
    return f"block-sparse-{'int8-' if narrow else ''}{height}x{width}"


def features_of(outputs: int, kept: int, height: int, width: int) -> int:
    """Return how many columns a row of blocks keeps, in the mean."""
    return max(1, round(kept * width / max(1, -(-outputs // height))))


def estimated(
    capability: Capability, rows: int, outputs: int, columns: int, height: int, width: int, size: int
) -> Config:
    """Return a configuration for sizes that no table has.

    A step along K is several blocks; where there are few programs, K is cut into parts.
    """
    block_n = max(16, min(128, power_of_two(height)))
    # Before compute capability 9.0 sums lie in registers that addresses need too.
    most = 64 if block_n == 128 and capability < (9, 0) else 128
    block_m = max(16, min(most, power_of_two(rows)))
    block_k = max(16, power_of_two(width), STEP[size])
    programs = -(-outputs // height) * -(-height // block_n) * -(-rows // block_m)
    parts, steps = 1, columns // block_k
    while parts < MOST_PARTS and programs * parts * 2 <= 2 * sizes_of(capability).processors:
        if steps < 2 * parts * FEWEST_STEPS:
            break
        parts *= 2
    large = block_m * block_n >= 128 * 128
    stages = max(2, min(4, (sizes_of(capability).shared - 20_480) // ((block_m + block_n) * block_k * size)))
    return Config(block_m, block_n, block_k, parts, 8 if large else 4, stages)


def launches(
    rows: Tensor,
    blocks: Tensor,
    columns: Tensor,
    row_pointers: Tensor | None,
    scales: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    output: Tensor,
    activation: str,
    config: Config,
) -> list[Launch]:
    """Return what writes a product with stored blocks, and what stands behind it, into `output`.

    Args:
        rows: float16, bfloat16 or float32 [M, K], contiguous, as blocks and columns are.
        residual: M * N elements, contiguous, or None.
        output: M * N elements, of the dtype of the rows, N of the last axis.
    """
    (count, features), (height, width) = rows.shape, blocks.shape[1:]
    outputs, split, free = output.shape[-1], config.split_k, row_pointers is not None
    sums = output if split == 1 else output.new_empty((split, count, outputs), dtype=torch.float32)
    constants = {
        "ROWS": height,
        "WIDTH": width,
        "WIDE": power_of_two(width),
        "FREE": free,
        "SCALED": scales is not None,
        "WHOLE_K": features % width == 0,
        "ACTIVATION": activation,
        "BIASED": bias is not None,
        "RESIDUAL": residual is not None,
        # Tensor cores of sm_90 want 64 rows on the left; of few inputs the weight has them, of low blocks the input.
        "LEFT": config.block_n >= 64 or config.block_m < 64,
        "BLOCK_M": config.block_m,
        "BLOCK_N": config.block_n,
        "BLOCK_K": config.block_k,
        "SPLIT_K": split,
        "STAGES": config.num_stages,
    }
    grid = (-(-outputs // height) * -(-height // config.block_n), -(-count // config.block_m), split)
    others = (or_other(scales, rows), or_other(bias, rows), or_other(residual, rows))
    read = (rows, blocks, columns, or_other(row_pointers, columns), *others)
    sizes = (count, outputs, features, 0 if free else columns.shape[1])
    launch = Launch(block_sparse_kernel, grid, (*read, sums, *sizes), constants, config.num_warps, config.num_stages)
    if split == 1:
        return [launch]
    return [launch, reduction(sums, None, bias, residual, output, activation)]
