"""Relative links between pages lead somewhere: the file is there, and the heading in it."""

from __future__ import annotations

import re

import pytest

from docs.pages import ROOT, markdown_files

_LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)")


def anchors(text: str) -> set[str]:
    """The anchors that a page's headings make: lower case, blanks as hyphens, no other punctuation."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", markdown_files(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page):
    text = page.read_text()
    for link in _LINK.findall(re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)):
        if re.match(r"https?://|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link} leads nowhere"
        assert target.is_relative_to(ROOT), f"{page.name}: {link} leads out of the project"
        if anchor:
            assert anchor in anchors(target.read_text()), f"{page.name}: there is no heading for {link}"


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text()
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert page.name == "README.md" or f"]({page.name})" in index, page.name


def test_links_and_anchors_are_found():
    assert _LINK.findall("[a](b.md#c) and ![d](e.svg)") == ["b.md#c", "e.svg"]
    assert anchors("# The `-p` option\n```sh\n# no heading\n```\n## Run: again") == {"the--p-option", "run-again"}
