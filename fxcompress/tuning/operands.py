"""What starts a kernel for a task, on tensors of a device; on `meta` it can be compiled, and on a GPU run."""

from __future__ import annotations

import torch

from fxcompress.kernels.gpu import running_block_sparse, running_quantized
from fxcompress.kernels.gpu.configurations import EIGHT_BITS, GATED, estimated, sizes_of
from fxcompress.kernels.gpu.launching import Launch
from fxcompress.kernels.gpu.running_weight_only import tile_launches
from fxcompress.kernels.gpu.table_files import Capability, Config
from fxcompress.kernels.gpu.tiles import Tiles, tile_columns
from fxcompress.tuning.tasks import BITS, KEPT, Task

Tensor = torch.Tensor
FP8 = torch.float8_e4m3fn
HALF = torch.bfloat16


def start_of(task: Task, capability: Capability) -> Config:
    """Return the configuration that is estimated, from which a search starts."""
    if task.block is None:
        return estimated(task.kernel, sizes_of(capability), task.m, task.n, task.k, task.group)
    return running_block_sparse.estimated(capability, task.m, task.n, task.k, *task.block, 2)


def launches_for(task: Task, config: Config, device: str) -> list[Launch]:
    """Return what calculates a product of random operands on `device`, its weight among them; nothing stands behind."""
    if task.block is not None:
        return _blocks(task, config, device)
    return _eight_bits(task, config, device) if task.kernel in EIGHT_BITS else _weight_only(task, config, device)


def bytes_of_weight(task: Task) -> float:
    """Return the bytes of the weight, by which copies are counted that no cache holds together."""
    return task.n * task.k * BITS.get(task.kernel, 8 if task.narrow else 16) / 8


def _weight_only(task: Task, config: Config, device: str) -> list[Launch]:
    bits, gated = BITS[task.kernel], task.kernel in GATED.values()
    groups, width = -(-task.k // task.group) if task.group else 1, tile_columns(bits, task.group)
    padded, columns = -(-task.n // 128) * 128, -(-task.k // 128) * 128
    words = integers(padded // 64, columns // width, 128, width * bits // 64, dtype=torch.int32, device=device)
    scales = floats(groups, padded, dtype=torch.float32, device=device)
    tiles = Tiles(words, scales, None, bits, task.group, task.n, task.k)
    output = floats(task.m, task.n // 2 if gated else task.n, dtype=HALF, device=device)
    rows = floats(task.m, task.k, dtype=HALF, device=device)
    return tile_launches(rows, tiles, None, None, output, "silu" if gated else "none", gated, config)


def _eight_bits(task: Task, config: Config, device: str) -> list[Launch]:
    dtype = torch.int8 if task.kernel == "int8" else FP8
    values, weight = (integers(rows, task.k, dtype=torch.int8, device=device) for rows in (task.m, task.n))
    if dtype == FP8:
        # Two patterns of bits stand for NaN, and both are odd.
        values, weight = ((each & -2).view(FP8) for each in (values, weight))
    scales = [floats(count, dtype=torch.float32, device=device) for count in (task.m, task.n)]
    output = floats(task.m, task.n, dtype=HALF, device=device)
    return running_quantized.launches(values, scales[0], weight, scales[1], None, None, output, "none", config)


def _blocks(task: Task, config: Config, device: str) -> list[Launch]:
    assert task.block is not None
    height, width = task.block
    tall, each = -(-task.n // height), task.k // width
    wide = max(each, round(each / KEPT))
    made = integers if task.narrow else floats
    blocks = made(tall * each, height, width, dtype=torch.int8 if task.narrow else HALF, device=device)
    order = torch.rand(tall, wide).argsort(1)[:, :each].sort(1).values
    columns = order.to(torch.int32).contiguous().to(device)
    scales = floats(task.n, dtype=torch.float32, device=device) if task.narrow else None
    rows = floats(task.m, wide * width, dtype=HALF, device=device)
    output = floats(task.m, task.n, dtype=HALF, device=device)
    return running_block_sparse.launches(rows, blocks, columns, None, scales, None, None, output, "none", config)


def floats(*shape: int, dtype: torch.dtype, device: str) -> Tensor:
    return torch.randn(shape, device=device).to(dtype)


def integers(*shape: int, dtype: torch.dtype, device: str) -> Tensor:
    """Return random bits."""
    limits = torch.iinfo(dtype)
    return torch.randint(limits.min, limits.max, shape, dtype=dtype, device=device)
