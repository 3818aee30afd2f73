"""Every example of the documentation runs, and prints what the page says; `--update-golden` writes it anew."""

from __future__ import annotations

import re

import pytest

from docs.pages import LANGUAGES, ROOT, Block, blocks_of, markdown_files, replaced, same, words_of
from docs.running import PageRun, commands

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_runs_and_prints_what_it_shows(page, tmp_path, monkeypatch, request):
    text = page.read_text()
    run = PageRun(page, tmp_path.resolve(), monkeypatch)
    try:
        outputs = list(run.outputs(blocks_of(text)))
    finally:
        run.close()
    if request.config.getoption("--update-golden"):
        for block, printed in reversed(outputs):
            if not same(block, block.text, printed):
                text = replaced(text, block, printed.rstrip() + "\n")
        page.write_text(text)
        return
    for block, printed in outputs:
        place = f"{page.relative_to(ROOT)}:{block.line}"
        assert same(block, block.text, printed), f"{place} shows\n{block.text}\nbut this is printed:\n{printed}"


@pytest.mark.parametrize("page", markdown_files(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_says_what_it_is(page):
    for block in blocks_of(page.read_text()):
        assert block.language in LANGUAGES, f"{page.name}:{block.line}: language {block.language!r}"
        assert block.remark in ("", "figures vary"), f"{page.name}:{block.line}: remark {block.remark!r}"


def test_no_page_names_a_folder_of_somebody():
    for page in markdown_files():
        assert not re.search(r"/(home|root|tmp|work|Users)/", page.read_text()), page


PAGE = """\
prose
```python
print(1)
```

```text
1
```
prose
```text figures vary
a   1.5 ms
```
"""


def test_blocks_are_found_with_lines_and_neighbours():
    python, text, vague = blocks_of(PAGE)
    assert (python.language, python.text, python.line, python.adjacent) == ("python", "print(1)\n", 3, False)
    assert (text.text, text.line, text.adjacent) == ("1\n", 7, True)
    assert vague.figures_vary
    assert not vague.adjacent


def test_a_block_is_replaced_in_place():
    text = blocks_of(PAGE)[1]
    assert replaced(PAGE, text, "2\n3\n") == PAGE.replace("\n1\n", "\n2\n3\n")


def test_another_output_is_another_output():
    exact = Block("text", "", "time 3.0 ms\n", 1, True)
    vague = Block("text", "figures vary", "", 1, True)
    assert same(exact, "time 3.0 ms\n", "time 3.0 ms   \n\n")
    assert not same(exact, "time 3.0 ms\n", "time 4.0 ms\n")
    assert same(vague, "latency  18.1 ± 4.2 ms  0.563\n-----\n", "latency 903 ± 10 µs   1.1\n---\n")
    assert not same(vague, "latency  18.1 ms", "memory  18.1 ms")
    assert words_of("folded: 1, kept: 1,024\n---  ----") == ["#", "#,", "--", "--", "folded:", "kept:"]


def test_commands_are_parted_from_what_they_print():
    assert commands("$ fxcompress a\nx\n  y\n$ fxcompress b \\\n    c\n") == [
        ("fxcompress a", "x\n  y\n"),
        ("fxcompress b \\\n    c", ""),
    ]


def test_a_wrong_example_is_found(tmp_path, monkeypatch):
    run = PageRun(tmp_path / "page.md", tmp_path, monkeypatch)
    block, printed = next(run.outputs(blocks_of("```python\nprint('b')\n```\n```text\na\n```\n")))
    assert not same(block, block.text, printed)
    with pytest.raises(ZeroDivisionError):
        list(run.outputs(blocks_of("```python\n1 / 0\n```\n")))
    with pytest.raises(AssertionError, match="exit code 2"):
        list(run.outputs(blocks_of("```console\n$ fxcompress passes nonsense\n```\n")))
