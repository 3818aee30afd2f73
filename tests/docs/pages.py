"""Reads the fenced blocks of Markdown pages.

What a page may hold, and what its test makes of it:

- ```` ```python ```` is run; all blocks of a page are one script. Directly followed by ```` ```text ````, what it
  prints must be that text.
- ```` ```text figures vary ```` says the same of the words only: every figure stands for any other.
- ```` ```console ```` holds lines `$ fxcompress ...`, which are run, and what they print, which is compared where
  shown. `pip install -e FOLDER` and `pytest FOLDER` are known too.
- A block of `python` or `toml` whose first line is a comment with a file name is written to that file instead.
- ```` ```text ```` after prose, ```` ```sh ````, ```` ```bash ```` and ```` ```json ```` are for reading only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LANGUAGES = ("python", "toml", "console", "text", "sh", "bash", "json")
_FENCE = re.compile(r"```(\w*)[ ]?(.*)")
_FILE_NAME = re.compile(r"# ([\w./-]+\.(?:py|toml|md))")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: the first word behind the fence.
        remark: the rest behind the fence.
        text: what stands between the fences, with its last newline.
        line: number of the first line of the text, from 1.
        adjacent: whether nothing but blank lines stands between it and the block before.
    """

    language: str
    remark: str
    text: str
    line: int
    adjacent: bool

    @property
    def file_name(self) -> str | None:
        """The file that the block is to be written to, None for one that is to be run."""
        found = _FILE_NAME.fullmatch(self.text.partition("\n")[0])
        return found.group(1) if found and self.language in ("python", "toml") else None

    @property
    def figures_vary(self) -> bool:
        return self.remark == "figures vary"


def markdown_files() -> list[Path]:
    """Return the pages that people read first, those of the documentation, and the READMEs of the plugins."""
    top = sorted(ROOT.glob("*.md"))
    return top + sorted((ROOT / "docs").rglob("*.md")) + sorted((ROOT / "plugins").glob("*/*.md"))


def blocks_of(text: str) -> list[Block]:
    """Return the fenced blocks of a page."""
    found: list[Block] = []
    lines = text.splitlines()
    start, adjacent = None, False
    for number, line in enumerate(lines, 1):
        fence = _FENCE.fullmatch(line)
        if fence is None:
            adjacent = adjacent and (start is not None or not line.strip())
        elif start is None:
            start, language, remark = number, fence.group(1), fence.group(2)
        else:
            content = "".join(f"{each}\n" for each in lines[start : number - 1])
            found.append(Block(language, remark, content, start + 1, adjacent))
            start, adjacent = None, True
    assert start is None, f"the fence in line {start} is not closed"
    return found


def replaced(text: str, block: Block, content: str) -> str:
    """Return the page with other content in `block`; blocks above it stay where they are."""
    lines = text.splitlines(keepends=True)
    end = block.line - 1 + block.text.count("\n")
    return "".join([*lines[: block.line - 1], content, *lines[end:]])


def same(block: Block, shown: str, printed: str) -> bool:
    """Whether a page shows what was printed; trailing white space does not count, nor figures where they vary."""
    if block.figures_vary:
        return words_of(shown) == words_of(printed)
    return [line.rstrip() for line in shown.rstrip().split("\n")] == [
        line.rstrip() for line in printed.rstrip().split("\n")
    ]


def words_of(text: str) -> list[str]:
    """Return the words in the order of the alphabet, a mark for every figure with its unit.

    The place of a word says nothing: where a cell of a table is wrapped depends on the width of the figures beside it.
    """
    marked = re.sub(r"(?<![\w.])-?\d+(?:[,.]\d+)*(?:e[-+]?\d+)?(?: [kMGTmµn]?(?:s|B)?(?=\s|$))?", "#", text)
    return sorted(re.sub(r"--+", "--", marked).split())
