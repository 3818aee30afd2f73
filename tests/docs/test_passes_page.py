"""docs/passes.md is what the classes of the built-in passes say now."""

from __future__ import annotations

from docs.pages import ROOT
from fxcompress.contract import options_of, statistics_of
from fxcompress.manual import markdown
from fxcompress.plugins import Plugins


def test_the_page_is_current():
    assert (ROOT / "docs" / "passes.md").read_text() == markdown(Plugins(autoload=False)), "run  make docs"


def test_the_page_has_every_option_and_statistic():
    page = (ROOT / "docs" / "passes.md").read_text()
    sections = {part.partition("\n")[0]: part for part in page.split("\n## ")[1:]}
    for name, entry in Plugins(autoload=False).passes.entries.items():
        for word in [*(option.name for option in options_of(entry.value)), *statistics_of(entry.value)]:
            assert f"| `{word}`" in sections[name], f"{name}: {word}"
