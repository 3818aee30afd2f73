"""Files with configurations of kernels, one for each generation of GPUs.

A table is a JSON file, `tables/sm_90.json` for compute capability 9.0:

    {"format": 1, "device": "NVIDIA H100", "measured": true,
     "dequantize_from": {"weight-only-4": 129},
     "kernels": {"weight-only-4": [
        {"m": 16, "n": 4096, "k": 4096, "group": 128,
         "block_m": 16, "block_n": 64, "block_k": 128, "split_k": 4, "num_warps": 4, "num_stages": 4}]}}

A row is for up to m rows of the input and for weights of about n rows and k columns. A user's own table, in the folder
that the environment variable FXCOMPRESS_KERNEL_TABLES names, goes before the one that is shipped.
"""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fxcompress.errors import UsageError
from fxcompress.files import write_text

Capability = tuple[int, int]
FORMAT = 1
OWN_TABLES = "FXCOMPRESS_KERNEL_TABLES"
SHIPPED = Path(__file__).parent / "tables"
# Weights that differ more, in octaves of both sides, say nothing about each other.
FARTHEST = 2.0


@dataclass(frozen=True)
class Config:
    """How a product [M, K] x [N, K]^T is cut.

    Attributes:
        block_m, block_n, block_k: rows of the input, rows of the weight and columns of both that a program takes.
        split_k: into how many parts K is cut, whose sums are added up afterwards.
        num_warps: groups of 32 threads in a program.
        num_stages: loads under way.

    All are powers of two but `num_stages`. For weights of few bits `block_n` and `block_k` are 64 or 128, and `block_n`
    is 128 where they are gated; for 8 bits by 8 `block_k` is 32 or more.
    """

    block_m: int
    block_n: int
    block_k: int
    split_k: int = 1
    num_warps: int = 4
    num_stages: int = 3


@dataclass(frozen=True)
class Row:
    """One row of a table: for which products a configuration is."""

    m: int
    n: int
    k: int
    group: int
    config: Config

    def to_dict(self) -> dict[str, int]:
        """Return it as the file has it."""
        return {"m": self.m, "n": self.n, "k": self.k, "group": self.group, **asdict(self.config)}

    def distance(self, n: int, k: int) -> float:
        """Return how far the sides of a weight are from this row's, in octaves."""
        return abs(math.log2(max(n, 1) / self.n)) + abs(math.log2(max(k, 1) / self.k))


@dataclass(frozen=True)
class Table:
    """What is known of one generation of GPUs.

    Attributes:
        device: its name.
        measured: whether the rows were measured there, and not estimated.
        dequantize_from: by kernel, from how many rows of the input on a weight is made floats first.
        kernels: the rows, by kernel.
    """

    device: str
    measured: bool
    dequantize_from: Mapping[str, int]
    kernels: Mapping[str, Sequence[Row]]

    def find(self, kernel: str, m: int, n: int, k: int, group: int) -> Config | None:
        """Return the configuration of the nearest row, None where none is near."""
        rows = [row for row in self.kernels.get(kernel, ()) if row.group == group]
        # Beyond the largest number of rows the largest counts.
        bucket = min((row.m for row in rows if row.m >= m), default=max((row.m for row in rows), default=0))
        near = min((row for row in rows if row.m == bucket), key=lambda row: row.distance(n, k), default=None)
        return near.config if near is not None and near.distance(n, k) <= FARTHEST else None

    def write(self, path: Path) -> None:
        """Write it, all or nothing."""
        rows = {kernel: [json.dumps(row.to_dict()) for row in rows] for kernel, rows in self.kernels.items()}
        listed = ",\n".join(f'  "{kernel}": [\n    ' + ",\n    ".join(made) + "\n  ]" for kernel, made in rows.items())
        head = {"format": FORMAT, "device": self.device, "measured": self.measured}
        body = json.dumps({**head, "dequantize_from": dict(self.dequantize_from)})[:-1]
        write_text(path, f'{body},\n "kernels": {{\n{listed}\n}}}}\n')


def read_table(path: Path) -> Table:
    """Return the table in a file.

    Raises:
        UsageError: it is no such table.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise UsageError(f"{path} has format {found['format']}, not {FORMAT}", hint="measure it anew")
        kernels = {kernel: [_row(row) for row in rows] for kernel, rows in found["kernels"].items()}
        return Table(str(found["device"]), bool(found["measured"]), dict(found["dequantize_from"]), kernels)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is no table of configurations: {error!r}", hint="measure it anew") from error


def _row(found: Mapping[str, Any]) -> Row:
    config = Config(**{field.name: int(found[field.name]) for field in fields(Config)})
    return Row(int(found["m"]), int(found["n"]), int(found["k"]), int(found["group"]), config)


def table_name(capability: Capability) -> str:
    """Return the name of the file for a compute capability."""
    return f"sm_{capability[0]}{capability[1]}.json"


def table_for(capability: Capability) -> Table | None:
    """Return the user's table for a compute capability, else the shipped one, else None."""
    return _table_in(os.environ.get(OWN_TABLES, ""), capability)


@functools.cache
def _table_in(own: str, capability: Capability) -> Table | None:
    for folder in (Path(own),) * bool(own) + (SHIPPED,):
        path = folder / table_name(capability)
        if path.is_file():
            return read_table(path)
    return None
