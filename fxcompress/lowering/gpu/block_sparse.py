"""The built-in kernel for linears whose weights are zero in blocks: which blocks, at which cost, and what is stored."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.fx import Node

from fxcompress.contract.kernels import Device, Kernel, Linear, Site
from fxcompress.lowering.gpu.kernels import around, floats, work
from fxcompress.sparsity.blocks import BlockRows, block_rows, kept_blocks, pooled

ops = torch.ops.fxcompress
FINEST = 16
HEIGHTS, WIDTHS = (128, 64, 32, 16), (64, 32, 16)
# What part of the speed of 128 rows blocks of fewer reach: an input is read once for a row of blocks.
HEIGHT_SPEED = {128: 1.0, 64: 0.9, 32: 0.7, 16: 0.5}
# Above it no GPU is faster than with all blocks.
DENSEST = 0.95


@dataclass(frozen=True)
class Blocks:
    """Blocks of a weight that hold all that is not zero.

    Attributes:
        size: rows and columns of a block.
        kept: how many are kept.
        density: which part of all.
        balanced: whether every row of blocks keeps equally many.
    """

    size: tuple[int, int]
    kept: int
    density: float
    balanced: bool


def blocks_of(linear: Linear) -> Blocks:
    """Return the blocks with which a linear is predicted to be the fastest, found once."""
    found: Blocks = linear.fact("blocks", lambda: _fastest(linear.weight.kept()))
    return found


def _fastest(kept: torch.Tensor) -> Blocks:
    fine = pooled(kept.float(), (FINEST, FINEST), torch.amax)
    found = [_blocks(fine, (height, width)) for height in HEIGHTS for width in WIDTHS]
    return min(found, key=lambda one: one.density / HEIGHT_SPEED[one.size[0]])


def _blocks(fine: torch.Tensor, size: tuple[int, int]) -> Blocks:
    """Return what blocks of `size` keep, of those of 16 x 16."""
    coarse = pooled(fine, (size[0] // FINEST, size[1] // FINEST), torch.amax)
    counts = coarse.sum(1)
    balanced = bool((counts == counts[0]).all())
    return Blocks(size, int(counts.sum()), float(coarse.mean()), balanced and bool(counts[0]))


def _refuses(linear: Linear) -> str | None:
    weight = linear.weight
    if weight.group or weight.zeros is not None or not (weight.values.dtype == torch.int8 or not weight.quantized):
        return "its weight has no one scale an output"
    density = blocks_of(linear).density
    return f"{density:.0%} of its blocks are not zero" if density > DENSEST else None


def _costs(linear: Linear, device: Device) -> float:
    found = blocks_of(linear)
    speed = HEIGHT_SPEED[found.size[0]]
    each = found.size[0] * found.size[1] * linear.weight.values.element_size() + 4
    return device.microseconds(
        "block-sparse",
        moved=(found.kept * each + around(linear)) / speed,
        work=work(linear) * found.density / speed,
        dtype=linear.dtype,
        launches=1 if linear.rows > 64 else 2,
    )


def break_even_density(linear: Linear, device: Device) -> float:
    """Return below which part of kept blocks a linear of floats is faster by its blocks than dense; at least 0."""
    found, dense, took = blocks_of(linear), floats(linear, device), _costs(linear, device)
    fixed = device.microseconds("block-sparse", moved=around(linear), work=0, dtype=linear.dtype, launches=2)
    growth = max(took - fixed, 1e-9) / max(found.density, 1e-9)
    return max(0.0, (dense - fixed) / growth)


def _builds(linear: Linear, site: Site) -> Node:
    found = blocks_of(linear)
    values = linear.weight.values
    index = block_rows(linear.weight.kept(), found.size)
    blocks = site.store("blocks", kept_blocks(values.float(), index).to(values.dtype))
    columns, pointers = columns_of(index, found.balanced)
    stored = site.store("columns", columns), None if pointers is None else site.store("row_pointers", pointers)
    behind = (site.scales, site.bias, site.residual, list(found.size), linear.outputs, linear.activation)
    return site.call(ops.gpu_linear_block_sparse.default, site.given, blocks, *stored, *behind)


def columns_of(index: BlockRows, balanced: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the block columns as the operator takes them, int32, and where the rows of blocks start."""
    columns = index.columns.to(torch.int32)
    if balanced:
        return columns.view(len(index.starts) - 1, -1), None
    return columns, index.starts.to(torch.int32)


BLOCK_SPARSE = Kernel("block-sparse", _refuses, _costs, _builds)
