"""Manual pages of passes, made from the classes themselves."""

from __future__ import annotations

import inspect

from tabulate import tabulate

from fxcompress.contract import Pass, options_of, statistics_of
from fxcompress.contract.options import Option, spell, type_words
from fxcompress.plugins import Plugins


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
    """Return the first sentence of a pass's docstring."""
    return inspect.getdoc(cls).split("\n")[0]  # type: ignore[union-attr]


def page(cls: type[Pass]) -> str:
    """Return the manual page of a pass: what it does, its options with defaults, its statistics."""
    parts = [f"{cls.name}  ({cls.fidelity})", inspect.getdoc(cls) or ""]
    options = [(o.name, default_text(o), takes(o), o.help) for o in options_of(cls)]
    if options:
        parts.append(tabulate(options, headers=("option", "default", "takes", ""), tablefmt="simple", disable_numparse=True))
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
