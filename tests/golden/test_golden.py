"""What the built-in passes do to small models, as the texts that people read: one Markdown file a case.

A case is a page with fenced blocks: `python` makes `model` and `inputs` (torch, nn and functional are there, the seed
is 0), `pipeline` is run on it, and every other block holds what is expected:

    diff        what each pass changed, as `str(stage.diff)`, one after the other
    total       what all passes together changed, as `str(fxc.diff(result.captured, result))`
    stat        the same as a line a module
    statistics  what the passes counted
    notes       what the passes have to say

`pytest tests/golden --update-golden` writes the expected blocks anew; look at what `git diff` then shows.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

import fxcompress as fxc

CASES = sorted((Path(__file__).parent / "cases").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXPECTED = {
    "diff": lambda result: "\n\n".join(str(stage.diff) for stage in result.stages),
    "total": lambda result: str(fxc.diff(result.captured, result)),
    "stat": lambda result: fxc.diff(result.captured, result).stat(),
    "statistics": lambda result: "\n".join(f"{stage.text}: {counted(stage.statistics)}" for stage in result.stages),
    "notes": lambda result: "\n".join(f"{stage.text}: {note}" for stage in result.stages for note in stage.notes),
}


def counted(statistics):
    return ", ".join(f"{name} {number:g}" for name, number in statistics.items())


def run(blocks):
    """Run the pipeline of a case on its model."""
    names = {"torch": torch, "nn": nn, "functional": functional}
    exec(blocks["python"], names)
    return fxc.compress(names["model"].eval(), names["inputs"], blocks["pipeline"])


def page_of(text, result):
    """Return the page with its expected blocks as `result` has them."""

    def renewed(block):
        kind = block.group(1)
        body = EXPECTED[kind](result) + "\n" if kind in EXPECTED else block.group(2)
        return f"```{kind}\n{body}```"

    return BLOCK.sub(renewed, text)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path, request):
    text = path.read_text(encoding="utf-8")
    blocks = dict(BLOCK.findall(text))
    assert blocks.keys() >= {"python", "pipeline"}
    assert blocks.keys() - {"python", "pipeline"}, "nothing is expected"
    assert blocks.keys() <= {"python", "pipeline", *EXPECTED}
    actual = page_of(text, run(blocks))
    if request.config.getoption("--update-golden"):
        path.write_text(actual, encoding="utf-8")
    assert actual == text or request.config.getoption("--update-golden"), f"pytest {path} --update-golden"


def test_there_are_cases():
    assert len(CASES) >= 15
