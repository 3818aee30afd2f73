"""Manual pages of passes, made from the classes themselves: for the terminal, and as a page of the documentation.

`python -m fxcompress.manual` prints the page of the built-in passes, `docs/passes.md`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence

from tabulate import tabulate

from fxcompress.contract import Pass, options_of, statistics_of
from fxcompress.contract.options import Option, spell, type_words
from fxcompress.plugins import Plugins

_HEAD = """\
# Passes

<!-- Made from the pass classes by `make docs`; edit their docstrings and options, not this page. -->

Each section is the docstring of a pass class, its options and its statistics. `fxcompress passes NAME` prints the same
in a terminal, for passes of plugins too. *Fidelity* is what a pass promises of the results, and what the verifier holds
it to: `exact` the same up to float error, `close` the same within a small tolerance, `lossy` finite numbers only."""


def overview(plugins: Plugins) -> str:
    """Return a table of the registered passes, then the named pipelines."""
    rows = [
        (name, entry.value.fidelity, entry.plugin, summary(entry.value))
        for name, entry in sorted(plugins.passes.entries.items())
    ]
    text = tabulate(rows, headers=("pass", "fidelity", "plugin", ""), tablefmt="simple")
    named = [(name, entry.plugin, entry.value) for name, entry in sorted(plugins.pipelines.entries.items())]
    if named:
        text += "\n\n" + tabulate(named, headers=("pipeline", "plugin", "stands for"), tablefmt="simple")
    return text


def summary(cls: type[Pass]) -> str:
    """Return the first line of a pass's docstring."""
    return inspect.getdoc(cls).split("\n")[0]  # type: ignore[union-attr]


def page(cls: type[Pass]) -> str:
    """Return the manual page of a pass: what it does, its options with defaults, its statistics."""
    parts = [f"{cls.name}  ({cls.fidelity})", inspect.getdoc(cls) or ""]
    options = [(o.name, default_text(o), takes(o), o.help) for o in options_of(cls)]
    if options:
        parts.append(
            tabulate(options, headers=("option", "default", "takes", ""), tablefmt="simple", disable_numparse=True)
        )
    statistics = list(statistics_of(cls).items())
    if statistics:
        parts.append(tabulate(statistics, headers=("statistic", ""), tablefmt="simple"))
    return "\n\n".join(parts)


def default_text(option: Option) -> str:
    return "required" if option.required else spell(option.default)


def takes(option: Option) -> str:
    """Return what an option takes, with its check."""
    words = type_words(option.type)
    return words if option.check is None else f"{words}, {option.check.text}"


def markdown(plugins: Plugins) -> str:
    """Return the manual pages of all registered passes as one Markdown page."""
    passes = [entry.value for _, entry in sorted(plugins.passes.entries.items())]
    listing = [(f"[`{cls.name}`](#{cls.name})", cls.fidelity, summary(cls)) for cls in passes]
    parts = [_HEAD, markdown_table(("pass", "fidelity", "what it does"), listing)]
    for cls in passes:
        parts += section(cls)
    named = [(f"`{name}`", f"`{entry.value}`") for name, entry in sorted(plugins.pipelines.entries.items())]
    if named:
        parts += ["## Named pipelines", markdown_table(("pipeline", "stands for"), named)]
    return "\n\n".join(parts) + "\n"


def section(cls: type[Pass]) -> Iterator[str]:
    """Yield the blocks of a pass's section."""
    yield f"## {cls.name}"
    yield f"Fidelity: `{cls.fidelity}`. Class: `{cls.__module__}.{cls.__qualname__}`."
    yield inspect.getdoc(cls) or ""
    options = [(f"`{o.name}`", f"`{default_text(o)}`", takes(o), o.help) for o in options_of(cls)]
    yield markdown_table(("option", "default", "takes", "meaning"), options) if options else "It has no options."
    statistics = [(f"`{name}`", text) for name, text in statistics_of(cls).items()]
    if statistics:
        yield markdown_table(("statistic", "meaning"), statistics)


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; a bar inside a cell is escaped."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return tabulate(cells, headers=headers, tablefmt="pipe", disable_numparse=True)


if __name__ == "__main__":
    sys.stdout.write(markdown(Plugins(autoload=False)))
