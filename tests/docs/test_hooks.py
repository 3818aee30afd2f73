"""docs/hooks.md has a section for every hook, with the signature that the code has."""

from __future__ import annotations

import inspect

from docs.pages import ROOT, blocks_of
from fxcompress import hookspecs

PAGE = (ROOT / "docs" / "hooks.md").read_text()
HOOKS = {name: hook for name, hook in vars(hookspecs).items() if hasattr(hook, f"{hookspecs.PROJECT}_spec")}


def signature(hook) -> str:
    """The definition line of a hook as its source has it, in one line."""
    source = inspect.getsource(hook)
    definition = source[source.index("def ") : source.index(':\n    """')]
    return " ".join(definition.split()).replace("( ", "(").replace(", )", ")")


def test_every_hook_has_its_signature_in_a_section_of_its_own():
    assert HOOKS
    sections = {part.partition("\n")[0].strip("`"): part for part in PAGE.split("\n## ")[1:]}
    for name, hook in HOOKS.items():
        assert name in sections, f"docs/hooks.md has no section  ## `{name}`"
        shown = [" ".join(block.text.split()) for block in blocks_of(sections[name])]
        assert signature(hook) in shown, f"docs/hooks.md lacks  {signature(hook)}"


def test_every_section_is_a_hook():
    titles = [part.partition("\n")[0].strip("`") for part in PAGE.split("\n## ")[1:]]
    assert [title for title in titles if title.startswith("register_")] == list(HOOKS)


def test_every_hook_says_what_it_is_for():
    for name, hook in HOOKS.items():
        assert inspect.getdoc(hook), name
