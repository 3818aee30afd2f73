"""The kernels of stored blocks as they are compiled: each block and number of rows, by the estimate or a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import torch

from ahead_of_time.subjects import Subject, empty
from fxcompress.kernels.gpu import running_static
from fxcompress.kernels.gpu.running_block_sparse import configuration, launches, table_key

BLOCKS = ((128, 16), (128, 32), (64, 32), (64, 64), (32, 32), (16, 16))
ROWS = (1, 16, 64, 128, 512)
OUTPUTS, FEATURES, SHARE = 4096, 4096, 0.2


def of_blocks(arch: int) -> Iterator[Subject]:
    """Yield stored blocks of floats and of int8, equally many in all block rows and not, and one scale for all."""
    for block in BLOCKS:
        for rows in ROWS:
            yield _blocks(arch, rows, block, False, False)
        yield _blocks(arch, 16, block, True, True)
    values = empty(16, FEATURES, dtype=torch.bfloat16)
    launch = running_static.launch(values, 0.1, 3, empty(16, FEATURES, dtype=torch.int8))
    yield Subject("static", {"m": 16, "k": FEATURES, "dtype": "torch.int8"}, launch)


def _blocks(arch: int, rows: int, block: tuple[int, int], free: bool, narrow: bool) -> Subject:
    height, width = block
    tall, each = OUTPUTS // height, int(SHARE * FEATURES // width)
    config = configuration(divmod(arch, 10), rows, OUTPUTS, tall * each, height, width, narrow, 2)
    dtype = torch.bfloat16
    stored = empty(tall * each, *block, dtype=torch.int8 if narrow else dtype)
    columns = empty(*((tall * each,) if free else (tall, each)), dtype=torch.int32)
    pointers = empty(tall + 1, dtype=torch.int32) if free else None
    scales = empty(OUTPUTS, dtype=torch.float32) if narrow else None
    given, output = empty(rows, FEATURES, dtype=dtype), empty(rows, OUTPUTS, dtype=dtype)
    started = launches(
        given, stored, columns, pointers, scales, empty(OUTPUTS, dtype=dtype), output, output, "gelu", config
    )
    facts = {"m": rows, "n": OUTPUTS, "k": each * width, "dtype": str(dtype), **asdict(config)}
    # The instruction for 64 rows on the left needs as many outputs or as many rows of the input.
    tall_enough = config.block_n >= 64 or config.block_m >= 64
    return Subject(table_key(height, width, narrow), facts, started[0], "half" if tall_enough else "low")
