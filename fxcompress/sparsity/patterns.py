"""Which elements of a weight may become zero together, as a pipeline spells it: unstructured, 2:4, block:16x16.

A pattern is of a weight as rows: [outputs, all that an output reads].
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fxcompress.contract.options import Check


@dataclass(frozen=True)
class Unstructured:
    """Every element by itself."""


@dataclass(frozen=True)
class KeepOf:
    """At most `keep` of every `of` neighbours of a row are not zero; NVIDIA's sparse tensor cores take 2 of 4."""

    keep: int
    of: int


@dataclass(frozen=True)
class Blocks:
    """Whole blocks of `rows` outputs by `columns` inputs."""

    rows: int
    columns: int


Pattern = Unstructured | KeepOf | Blocks


def pattern_of(text: str) -> Pattern | None:
    """Return the pattern that `text` spells, None where it spells none."""
    if text == "unstructured":
        return Unstructured()
    if found := re.fullmatch(r"(\d{1,6}):(\d{1,6})", text):
        keep, of = map(int, found.groups())
        return KeepOf(keep, of) if 0 < keep < of else None
    if found := re.fullmatch(r"block:(\d{1,6})x(\d{1,6})", text):
        rows, columns = map(int, found.groups())
        return Blocks(rows, columns) if rows and columns else None
    return None


PATTERN = Check(
    "unstructured, N:M with N below M (2:4 keeps 2 of 4), or block:ROWSxCOLUMNS (block:16x16)",
    lambda text: pattern_of(text) is not None,
)
