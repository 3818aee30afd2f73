"""Linears of floats with weights of 8 or 4 bits on a GPU: by tiles, or as floats where there are many rows."""

from __future__ import annotations

import torch

from fxcompress.kernels.gpu.assembly import unpacking
from fxcompress.kernels.gpu.configurations import GATED, WEIGHT_ONLY, Config, configuration, dequantize_from
from fxcompress.kernels.gpu.jit_weight_only import weight_only_kernel
from fxcompress.kernels.gpu.launching import Launch, capability_of, interpreted, or_other, run_all
from fxcompress.kernels.gpu.plain import finished
from fxcompress.kernels.gpu.reducing import reduction
from fxcompress.kernels.gpu.running_dense import dense_linear, dense_weight
from fxcompress.kernels.gpu.tiles import WHOLE, Tiles, interleaved, pack_tiles, serves, tile_columns
from fxcompress.kernels.packing import packed
from fxcompress.kernels.products import activated, rows_of

Tensor = torch.Tensor


def linear_weight_only(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    scales: Tensor,
    zeros: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    bits: int,
    group: int,
    activation: str,
) -> Tensor:
    """See `fxcompress.kernels.gpu.weight_only.linear_weight_only`."""
    rows, outputs = rows_of(input), weight.shape[0]
    shape = (*input.shape[:-1], outputs)
    if not rows.numel() or not outputs:
        return finished(input.new_zeros(shape, dtype=torch.float32), bias, residual, activation, input.dtype)
    if not _by_tiles(rows, zeros, group, WEIGHT_ONLY[bits]):
        dense = dense_weight(weight, scales, zeros, bits, group, rows.shape[1], input.dtype)
        return dense_linear(rows, dense, bias, residual, activation).view(shape)
    tiles = _tiles(rows, (weight,), (scales,), (zeros,), bits, group)
    config = configuration(WEIGHT_ONLY[bits], capability_of(rows), len(rows), outputs, rows.shape[1], group)
    output, flat = input.new_empty(shape), None if residual is None else residual.contiguous()
    run_all(tile_launches(rows, tiles, bias, flat, output, activation, False, config))
    return output


def linear_gated(
    input: Tensor,  # noqa: A002
    gate: Tensor,
    gate_scales: Tensor,
    gate_zeros: Tensor | None,
    up: Tensor,
    up_scales: Tensor,
    up_zeros: Tensor | None,
    bits: int,
    group: int,
    activation: str,
) -> Tensor:
    """See `fxcompress.kernels.gpu.weight_only.linear_gated`."""
    rows, outputs = rows_of(input), gate.shape[0]
    shape = (*input.shape[:-1], outputs)
    if not rows.numel() or not outputs:
        return input.new_zeros(shape)
    weights = ((gate, gate_scales, gate_zeros), (up, up_scales, up_zeros))
    if not _by_tiles(rows, gate_zeros, group, GATED[bits]) or not _by_tiles(rows, up_zeros, group, GATED[bits]):
        gates, values = (
            torch.nn.functional.linear(rows, dense_weight(*each, bits, group, rows.shape[1], input.dtype))
            for each in weights
        )
        return activated(gates, activation).mul_(values).view(shape)
    tiles = _tiles(rows, (gate, up), (gate_scales, up_scales), (gate_zeros, up_zeros), bits, group)
    config = configuration(GATED[bits], capability_of(rows), len(rows), 2 * outputs, rows.shape[1], group)
    output = input.new_empty(shape)
    run_all(tile_launches(rows, tiles, None, None, output, activation, True, config))
    return output


def _by_tiles(rows: Tensor, zeros: Tensor | None, group: int, kernel: str) -> bool:
    """Whether the kernel on tiles is for this product; the rest is multiplied as floats."""
    if not serves(group) or rows.dtype == torch.float32 or (zeros is not None and zeros.is_floating_point()):
        return False
    return len(rows) < dequantize_from(kernel, capability_of(rows))


def _tiles(
    rows: Tensor,
    weights: tuple[Tensor, ...],
    scales: tuple[Tensor, ...],
    zeros: tuple[Tensor | None, ...],
    bits: int,
    group: int,
) -> Tiles:
    """Return one weight, or a gate and what it gates, in tiles, packed at the first call."""
    columns = rows.shape[1]
    # Without assembly the kernel takes integers off, not pairs of floats.
    pairs_of = rows.dtype if ptx_for(bits, rows.dtype, True) else None

    def make() -> Tiles:
        if len(weights) == 1:
            return pack_tiles(weights[0], scales[0], zeros[0], bits, group, columns, pairs_of)
        return pack_gated(weights, scales, zeros, bits, group, columns, pairs_of)

    return packed(f"tiles {bits} {group} {columns} {pairs_of}", (*weights, *scales, *zeros), make)


def pack_gated(
    weights: tuple[Tensor, ...],
    scales: tuple[Tensor, ...],
    zeros: tuple[Tensor | None, ...],
    bits: int,
    group: int,
    columns: int,
    pairs_of: torch.dtype | None,
) -> Tiles:
    """Return a gate and what it gates as one weight whose rows are interleaved; see `pack_tiles`."""
    gate_zeros, up_zeros = (
        torch.zeros_like(scale, dtype=torch.int32) if zero is None else zero.to(torch.int32)
        for scale, zero in zip(scales, zeros, strict=True)
    )
    both = None if all(zero is None for zero in zeros) else interleaved(gate_zeros, up_zeros)
    weight, scale = interleaved(*weights), interleaved(*scales)
    return pack_tiles(weight, scale, both, bits, group, columns, pairs_of)


def tile_launches(
    rows: Tensor,
    tiles: Tiles,
    bias: Tensor | None,
    residual: Tensor | None,
    output: Tensor,
    activation: str,
    gated: bool,
    config: Config,
) -> list[Launch]:
    """Return what writes a product with a weight in tiles, and what stands behind it, into `output`.

    Args:
        rows: float16, bfloat16 or float32 [M, K], contiguous.
        bias: [N] or None.
        residual: [M, N], contiguous, or None.
        output: M * N elements, of the dtype of the rows.
        gated: the rows of the weight are interleaved, as of `interleaved`.

    Raises:
        ValueError: the configuration is not for tiles.
    """
    if config.block_n not in ((WHOLE,) if gated else (WHOLE // 2, WHOLE)) or config.block_k not in (WHOLE // 2, WHOLE):
        raise ValueError(f"{config} does not cut tiles: see Config")
    count, columns = rows.shape
    padded = tiles.scales.shape[1]
    split = min(config.split_k, -(-columns // config.block_k))
    sums = output if split == 1 else output.new_empty((split, count, padded), dtype=torch.float32)
    constants = {
        "GATED": gated,
        "ACTIVATION": activation,
        "BIASED": bias is not None,
        "RESIDUAL": residual is not None,
        "BITS": tiles.bits,
        "GROUP": tiles.group,
        "AFFINE": tiles.offsets is not None,
        "WHOLE_K": columns % config.block_k == 0,
        "PTX": ptx_for(tiles.bits, rows.dtype, tiles.offsets is not None),
        "TILE_K": tile_columns(tiles.bits, tiles.group),
        "BLOCK_M": config.block_m,
        "BLOCK_N": config.block_n,
        "BLOCK_K": config.block_k,
        "SPLIT_K": split,
        "STAGES": config.num_stages,
    }
    grid = (-(-padded // config.block_n), -(-count // config.block_m), split)
    offsets = tiles.words if tiles.offsets is None else tiles.offsets
    arguments = (rows, tiles.words, tiles.scales, offsets, or_other(bias, rows), or_other(residual, rows), sums)
    sizes = (count, output.shape[-1], columns, padded, tiles.words.shape[1])
    launch = Launch(weight_only_kernel, grid, (*arguments, *sizes), constants, config.num_warps, config.num_stages)
    if split == 1:
        return [launch]
    return [launch, reduction(sums, None, bias, residual, output, activation, gated)]


def ptx_for(bits: int, dtype: torch.dtype, affine: bool) -> str:
    """Return the assembly that unpacks weights here, nothing where the kernel does without."""
    return "" if interpreted(weight_only_kernel) else unpacking(bits, dtype, affine)
