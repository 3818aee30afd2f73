"""Compiles every configuration of the tables for its GPU, on a machine without one, and reads the machine code.

    python benchmarks/aot.py --json benchmarks/results/aot.json

It fails where a thread's values do not fit its registers, where a program takes more shared memory than there is, where
the product is not done by the matrix instruction that is the fastest of its generation, or where the loop over weights
of 4 bits takes more than `--limit` instructions a weight on compute capability 9.0. No GPU is needed, and no time is
measured.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import triton
from ahead_of_time.blocks import of_blocks
from ahead_of_time.machine_code import MachineCode, machine_code
from ahead_of_time.subjects import MATRIX, Subject, of_table, without_tables
from ahead_of_time.target import pretend
from measured import write_rows

from fxcompress.kernels.gpu.configurations import sizes_of
from fxcompress.kernels.gpu.table_files import SHIPPED, read_table, table_name

ARCHITECTURES = (80, 89, 90)
# Instructions of a thread for each of its weights.
LIMIT = 3.5
SHOWN = (
    *("m", "n", "k", "group", "affine", "kind", "dtype", "block_m", "block_n", "block_k", "num_warps", "num_stages"),
    *("registers", "stack", "shared", "mma", "instructions_a_weight"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the records there")
    parser.add_argument("--arch", type=int, nargs="+", default=ARCHITECTURES, help="compute capabilities: 80 89 90")
    parser.add_argument("--every", type=int, default=1, help="only every so manyth configuration")
    parser.add_argument("--kernel", help="only kernels with this in their name")
    parser.add_argument(
        "--limit", type=float, default=LIMIT, help="instructions a weight of 4 bits (default %(default)s)"
    )
    asked = parser.parse_args()
    records: list[dict[str, Any]] = []
    try:
        for arch in asked.arch:
            pretend(arch)
            chosen = [subject for subject in subjects(arch) if asked.kernel is None or asked.kernel in subject.kernel]
            for subject in chosen[:: asked.every]:
                records.append(record(subject, arch, asked.limit))
                print(line(records[-1]), flush=True)
    finally:
        # What was found is kept where somebody stops it.
        write_rows(asked.json, records, triton=triton.__version__)
    wrong = [each for each in records if each["wrong"]]
    print(f"{len(records)} kernels compiled, {len(wrong)} of them not as they should be")
    sys.exit(1 if wrong else 0)


def subjects(arch: int) -> Iterator[Subject]:
    """Yield all that is compiled for `arch`."""
    table = read_table(SHIPPED / table_name(divmod(arch, 10)))
    yield from of_table(table, arch)
    yield from without_tables(arch)
    yield from of_blocks(arch)


def record(subject: Subject, arch: int, limit: float) -> dict[str, Any]:
    """Compile one kernel, and return what was found and what is wrong with it."""
    code = machine_code(subject.launch.compiled())
    of_weight = round(code.loop / subject.weights, 2) if subject.weights and code.loop else None
    return {
        "arch": f"sm_{arch}",
        "kernel": subject.kernel,
        **subject.facts,
        "registers": code.registers,
        "stack": code.stack,
        "shared": code.shared,
        "mma": "+".join(code.matrix),
        "instructions": code.loop,
        "instructions_a_weight": of_weight,
        "wrong": wrong(subject, arch, code, of_weight, limit),
    }


def wrong(subject: Subject, arch: int, code: MachineCode, of_weight: float | None, limit: float) -> list[str]:
    """Return what is not as it should be."""
    found = []
    if code.stack:
        found.append(f"{code.stack} bytes of stack")
    if code.shared > sizes_of(divmod(arch, 10)).shared:
        found.append(f"{code.shared} bytes of shared memory")
    wanted = (MATRIX[subject.matrix][arch >= 90],) if subject.matrix else ()
    if code.matrix != wanted:
        found.append(f"matrix instructions {code.matrix}, not {wanted}")
    # Where the rows of the input are many, their sums and not the weights take the instructions.
    few = subject.facts.get("m", 0) <= 16  # type: ignore[operator]
    if subject.bits == 4 and arch >= 90 and few and of_weight is not None and of_weight > limit:
        found.append(f"{of_weight} instructions a weight")
    return found


def line(found: dict[str, Any]) -> str:
    """Return a record as a line."""
    words = [f"{name}={found[name]}" for name in SHOWN if found.get(name) not in (None, "")]
    return " ".join([found["arch"], found["kernel"], *words, *(f"WRONG: {each}" for each in found["wrong"])])


if __name__ == "__main__":
    main()
