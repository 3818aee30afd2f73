"""What is in a compiled kernel: registers, memory, the matrix instructions, the instructions of the innermost loop."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton

_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
_INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(.*?);")
_LABEL = re.compile(r"^(\.L_x_\d+):")
_BRANCH = re.compile(r"\bBRA\b.*?(\.L_x_\d+)")
_MATRIX = re.compile(r"\b([HIQ]G?MMA)\.")


@dataclass(frozen=True)
class MachineCode:
    """Facts of a compiled kernel.

    Attributes:
        registers: of a thread.
        stack: bytes of a thread that did not fit its registers.
        shared: bytes of a program.
        matrix: the names of the matrix instructions, without what follows the first dot.
        loop: instructions of the longest loop with a matrix instruction in it, 0 without a loop.
    """

    registers: int
    stack: int
    shared: int
    matrix: tuple[str, ...]
    loop: int


def machine_code(compiled: Any) -> MachineCode:
    """Return the facts of a kernel that `triton` compiled, read from its machine code."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = _tool("cuobjdump", "-res-usage", file.name)
        text = _tool("nvdisasm", "-c", file.name)
    lines, loops = _loops(text)
    with_matrix = [
        lines[first : last + 1] for first, last in loops if any(map(_MATRIX.search, lines[first : last + 1]))
    ]
    return MachineCode(
        registers=_number("REG", usage),
        stack=_number("STACK", usage),
        shared=int(compiled.metadata.shared),
        matrix=tuple(sorted({found.group(1) for found in map(_MATRIX.search, lines) if found})),
        loop=max(map(len, with_matrix), default=0),
    )


def _tool(name: str, *arguments: str) -> str:
    return subprocess.run([_TOOLS / name, *arguments], capture_output=True, text=True, check=True).stdout


def _number(word: str, usage: str) -> int:
    found = re.search(rf"\b{word}:(\d+)", usage)
    assert found is not None, usage
    return int(found.group(1))


def _loops(text: str) -> tuple[list[str], list[tuple[int, int]]]:
    """Return the instructions, and of every branch backwards the first and the last instruction of its loop."""
    lines: list[str] = []
    labels: dict[str, int] = {}
    for line in text.splitlines():
        if label := _LABEL.search(line.strip()):
            labels[label.group(1)] = len(lines)
        if instruction := _INSTRUCTION.search(line):
            lines.append(instruction.group(1).strip())
    loops = []
    for place, line in enumerate(lines):
        branch = _BRANCH.search(line)
        if branch and labels.get(branch.group(1), place) < place:
            loops.append((labels[branch.group(1)], place))
    return lines, loops
