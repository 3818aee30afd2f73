"""What is compiled: every configuration of the tables, started as the operators start it, on tensors without memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from fxcompress.kernels.gpu import running_quantized, running_rows
from fxcompress.kernels.gpu.configurations import EIGHT_BITS, GATED, WEIGHT_ONLY
from fxcompress.kernels.gpu.launching import Launch
from fxcompress.kernels.gpu.reducing import reduction
from fxcompress.kernels.gpu.running_dense import dequantizing
from fxcompress.kernels.gpu.running_weight_only import tile_launches
from fxcompress.kernels.gpu.table_files import Row, Table
from fxcompress.kernels.gpu.tiles import Tiles, tile_columns

FP8 = torch.float8_e4m3fn
# Which instruction multiplies matrices, before and from compute capability 9.0 on.
MATRIX = {"half": ("HMMA", "HGMMA"), "int8": ("IMMA", "IGMMA"), "fp8": ("QMMA", "QGMMA"), "low": ("HMMA", "HMMA")}


@dataclass(frozen=True)
class Subject:
    """One start of a kernel that is to be compiled.

    Attributes:
        kernel: its name in tables, or what it does.
        facts: for the record: the row of the table, the dtype.
        launch: what starts it.
        matrix: which of `MATRIX` it has to be multiplied by; nothing for a kernel without products.
        weights: how many weights a thread has in a round of the loop, 0 where that is not asked.
        bits: of a weight.
    """

    kernel: str
    facts: dict[str, object]
    launch: Launch
    matrix: str = ""
    weights: float = 0.0
    bits: int = 0


def empty(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    """Return a tensor without memory, aligned as PyTorch aligns."""
    return torch.empty(shape, dtype=dtype, device="meta")


def of_table(table: Table, arch: int) -> Iterator[Subject]:
    """Yield every configuration of a table once for each code that it compiles to."""
    seen = set()
    for kernel, rows in table.kernels.items():
        for row in rows:
            for subject in of_row(kernel, row):
                key = (kernel, _code(subject), subject.facts["dtype"])
                if key not in seen and not (kernel == "fp8" and arch < 89):
                    seen.add(key)
                    yield subject


def _code(subject: Subject) -> str:
    """Return what tells one code from another: into how many parts K is cut is no more than a number in it."""
    constants = {**subject.launch.constants, "SPLIT_K": subject.launch.constants["SPLIT_K"] > 1}
    return f"{constants} {subject.launch.num_warps}"


def of_row(kernel: str, row: Row) -> Iterator[Subject]:
    """Yield what one row of a table compiles to; of 16 rows with zero points too, and in float16."""
    if kernel in EIGHT_BITS:
        yield _eight_bits(kernel, row)
        return
    for bits in WEIGHT_ONLY:
        for gated, names in ((False, WEIGHT_ONLY), (True, GATED)):
            if kernel == names[bits]:
                yield _weight_only(kernel, row, bits, gated, False, torch.bfloat16)
                if row.m == 16:
                    yield _weight_only(kernel, row, bits, gated, True, torch.bfloat16)
                if row.m == 16 and row.group == 128:
                    yield _weight_only(kernel, row, bits, gated, False, torch.float16)


def _weight_only(kernel: str, row: Row, bits: int, gated: bool, affine: bool, dtype: torch.dtype) -> Subject:
    groups = -(-row.k // row.group) if row.group else 1
    width = tile_columns(bits, row.group)
    words = empty(-(-row.n // 64), -(-row.k // width), 128, width * bits // 64, dtype=torch.int32)
    offsets = empty(groups, row.n, dtype=torch.int32) if affine else None
    tiles = Tiles(words, empty(groups, row.n, dtype=torch.float32), offsets, bits, row.group, row.n, row.k)
    output = empty(row.m, row.n // 2 if gated else row.n, dtype=dtype)
    activation = "silu" if gated else "none"
    launch = tile_launches(empty(row.m, row.k, dtype=dtype), tiles, None, None, output, activation, gated, row.config)[
        0
    ]
    facts = {**row.to_dict(), "affine": affine, "dtype": str(dtype)}
    weights = row.config.block_n * row.config.block_k / (32 * row.config.num_warps)
    return Subject(kernel, facts, launch, "half", weights, bits)


def _eight_bits(kernel: str, row: Row) -> Subject:
    dtype = torch.int8 if kernel == "int8" else FP8
    values, weight = empty(row.m, row.k, dtype=dtype), empty(row.n, row.k, dtype=dtype)
    scales = (empty(row.m, dtype=torch.float32), empty(row.n, dtype=torch.float32))
    output = empty(row.m, row.n, dtype=torch.bfloat16)
    launch = running_quantized.launches(values, scales[0], weight, scales[1], None, None, output, "none", row.config)[0]
    return Subject(kernel, {**row.to_dict(), "dtype": "torch.bfloat16"}, launch, kernel)


def without_tables(arch: int) -> Iterator[Subject]:
    """Yield the kernels whose blocks are no matter of tables: rows, floats of weights, sums of parts."""
    for columns in (4096, 11008, 28672):
        for kind in ("none", "rms", "layer", "silu"):
            yield _rows(columns, kind, torch.int8)
            if arch >= 89:
                yield _rows(columns, kind, FP8)
    for bits in (4, 8):
        for group in (0, 32, 128):
            weight = empty(4096, 4096 * bits // 8, dtype=torch.uint8 if bits == 4 else torch.int8)
            scales = empty(4096, 4096 // group if group else 1, dtype=torch.bfloat16)
            output = empty(4096, 4096, dtype=torch.bfloat16)
            launch = dequantizing(weight, scales, None, bits, group, output)
            yield Subject("dequantize", {"bits": bits, "group": group, "dtype": "torch.bfloat16"}, launch)
    for rows in (1, 16):
        for gated, of_integers in ((False, False), (True, False), (False, True)):
            yield _sums(rows, gated, of_integers)


def _sums(rows: int, gated: bool, of_integers: bool) -> Subject:
    sums = empty(8, rows, 8192, dtype=torch.int32 if of_integers else torch.float32)
    scales = (empty(rows, dtype=torch.float32), empty(8192, dtype=torch.float32)) if of_integers else None
    output = empty(rows, 4096 if gated else 8192, dtype=torch.bfloat16)
    launch = reduction(sums, scales, None, output, output, "silu", gated)
    kind = "gated" if gated else "integers" if of_integers else "floats"
    return Subject("sums", {"m": rows, "n": 8192, "kind": kind, "dtype": "torch.bfloat16"}, launch)


def _rows(columns: int, kind: str, dtype: torch.dtype) -> Subject:
    rows = empty(16, columns, dtype=torch.bfloat16)
    other = rows if kind == "silu" else None
    weight = empty(columns, dtype=torch.bfloat16)
    values, scales = empty(16, columns, dtype=dtype), empty(16, dtype=torch.float32)
    launch = running_rows.launch(rows, other, weight, weight, kind, 1e-5, values, scales)
    return Subject("rows", {"k": columns, "kind": kind, "dtype": str(dtype)}, launch)
