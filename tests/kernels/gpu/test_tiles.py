"""Tiles and the assembly that reads them: PTX calculated here, instruction by instruction, thread by thread."""

from __future__ import annotations

import itertools
import re

import pytest
import torch
from gpu_weights import stored_weight

from fxcompress.kernels.gpu.assembly import unpacking
from fxcompress.kernels.gpu.tiles import pack_tiles, serves

THREADS = 128


def run(ptx, operands, dtype):
    """What the operands are after the assembly: int64 tensors of 32 bits, many threads at once."""
    registers = dict(operands)

    def value(text):
        return registers[text] if text in registers else int(text, 0)

    def halves(text):
        bits = torch.as_tensor(value(text)).expand(THREADS)
        return torch.stack([bits & 0xFFFF, bits >> 16]).to(torch.int16).view(dtype).double()

    for line in ptx.replace("{", "").replace("}", "").split(";"):
        words = line.replace(",", " ").split()
        if not words or words[0] == ".reg":
            continue
        name, target, *rest = words
        if name == "mov.b32":
            registers[target] = torch.tensor(value(rest[0]))
        elif name == "shr.u32":
            registers[target] = value(rest[0]) >> value(rest[1])
        elif name == "lop3.b32":
            assert rest[3] == "0xEA", "a & b | c"
            registers[target] = value(rest[0]) & value(rest[1]) | value(rest[2])
        else:
            assert re.fullmatch(r"fma\.rn\.(bf16x2|f16x2)", name)
            assert name.endswith("bf16x2") == (dtype == torch.bfloat16)
            low, high = (halves(rest[0]) * halves(rest[1]) + halves(rest[2])).to(dtype).view(
                torch.int16
            ).long() & 0xFFFF
            registers[target] = low | high << 16
    return registers


def rows_and_columns(thread, bits, place, pair, half):
    """Where in a tile the tensor core looks for half a register that the assembly writes for a pair of words."""
    warp, row, quarter = thread // 32, thread % 32 // 4, thread % 4
    if bits == 4:
        step, c, h = place // 4, place // 2 % 2, place % 2
        step += 2 * pair
    else:
        step, c, h = pair, place // 2, place % 2
    return 16 * warp + 8 * h + row, 16 * step + 8 * c + 2 * quarter + half


def offsets_of(tiles, at, row_tile, pairs):
    """The operands that are added, of each thread: twice for its first row, twice for its second."""
    threads = torch.arange(THREADS)
    first = 64 * row_tile + threads // 32 * 16 + threads % 32 // 4
    added = [tiles.offsets[at, first + 8 * h].long() & 0xFFFFFFFF for h in range(2)]
    return {f"${pairs + 2 + 2 * h + i}": added[h] for h in range(2) for i in range(2)}


def unpacked(tiles, dtype):
    """All that the assembly makes of tiles, put where the tensor core looks for it."""
    pairs = 8 if tiles.bits == 4 else 4
    ptx = unpacking(tiles.bits, dtype, tiles.offsets is not None)
    row_tiles, column_tiles, _, held = tiles.words.shape
    width = held * 64 // tiles.bits
    got = torch.full((64 * row_tiles, width * column_tiles), float("nan"), dtype=torch.float64)
    words = tiles.words.long() & 0xFFFFFFFF
    for row_tile, column_tile, pair in itertools.product(range(row_tiles), range(column_tiles), range(held // 2)):
        operands = {f"${pairs + i}": words[row_tile, column_tile, :, 2 * pair + i] for i in range(2)}
        if tiles.offsets is not None:
            at = column_tile * width // tiles.group if tiles.group else 0
            operands |= offsets_of(tiles, at, row_tile, pairs)
        made = run(ptx, operands, dtype)
        for place, half in itertools.product(range(pairs), range(2)):
            bits = made[f"${place}"] >> (16 * half) & 0xFFFF
            rows, columns = rows_and_columns(torch.arange(THREADS), tiles.bits, place, pair, half)
            got[64 * row_tile + rows, width * column_tile + columns] = bits.to(torch.int16).view(dtype).double()
    return got


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group", [0, 32, 128])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_each_thread_finds_its_operands(bits, group, affine, dtype):
    outputs, features = 70, 150
    weight, scales, zeros, wide = stored_weight(outputs, features, bits, group, affine)
    tiles = pack_tiles(weight, scales, zeros, bits, group, features, dtype)
    got = unpacked(tiles, dtype)
    columns = torch.arange(features)
    steps = tiles.scales[columns // group if group else columns * 0, :outputs].t().double()
    torch.testing.assert_close(got[:outputs, :features] * steps, wide, rtol=1e-12, atol=0)
    assert not tiles.scales[:, outputs:].any()
    assert got.isfinite().all()


def test_which_groups_tiles_serve():
    assert [group for group in range(300) if serves(group)] == [0, 32, 64, 128, 256]
