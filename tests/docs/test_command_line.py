"""docs/command-line.md names every command and every option, each in the section of its command."""

from __future__ import annotations

import click
import pytest

from docs.pages import ROOT
from fxcompress.cli import group

PAGE = (ROOT / "docs" / "command-line.md").read_text()
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}


@pytest.mark.parametrize("name", sorted(group.commands))
def test_section_names_every_option(name):
    command = group.commands[name]
    inner = command.commands.values() if isinstance(command, click.Group) else ()
    for each in (command, *inner):
        assert f"{each.name} " in SECTIONS[name] or each is command
        for parameter in each.params:
            for spelling in parameter.opts if isinstance(parameter, click.Option) else ():
                found = any(f"{before}{spelling}{after}" in SECTIONS[name] for before in "`" for after in "` ,")
                assert found, f"docs/command-line.md, section {name}: {spelling} of {each.name} is missing"


def test_the_overview_links_every_command():
    for name in group.commands:
        assert f"](#{name})" in PAGE.partition("\n## ")[0], name


def test_no_section_names_an_option_that_is_not_there():
    known = {"--help", "--version"}
    for command in group.commands.values():
        for each in (command, *(command.commands.values() if isinstance(command, click.Group) else ())):
            known.update(spelling for parameter in each.params for spelling in parameter.opts)
    named = {word.split("`")[0].split()[0] for word in PAGE.split("`--")[1:]}
    assert {f"--{word.rstrip(',')}" for word in named} <= known
