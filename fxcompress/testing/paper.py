"""The rules that a pass keeps on paper: class, texts, documentation. Nothing is run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from fxcompress.contract import Pass, options_of, statistics_of
from fxcompress.errors import FxcompressError, PipelineError
from fxcompress.hookspecs import hookimpl
from fxcompress.pipeline import Pipeline
from fxcompress.plugins import Plugins
from fxcompress.testing.options import variants


class Bringer:
    """A plugin that brings one pass class."""

    def __init__(self, cls: type[Pass]) -> None:
        self.cls = cls

    @hookimpl
    def register_passes(self, register: Callable[[type[Pass]], None]) -> None:
        register(self.cls)


def registry_of(cls: type[Pass]) -> Plugins:
    """Return the built-in plugins, and one that registers `cls` where none of them does.

    Raises:
        PluginError: the class does not keep the contract, or its name is taken by a built-in pass.
    """
    plugins = Plugins(autoload=False)
    entry = plugins.passes.entries.get(cls.name)
    if entry is None or entry.value is not cls:
        plugins.register(Bringer(cls), f"{cls.__module__}.{cls.__qualname__}")
    return plugins


def round_trip(a_pass: Pass, plugins: Plugins) -> Iterator[str]:
    """Yield the texts that do not read back as the pass that they were printed from."""
    for one in (a_pass, *variants(a_pass)[0]):
        text = str(one)
        try:
            read = Pipeline.parse(text, plugins).passes
        except PipelineError as error:
            yield f"its text does not read: {error}"
            continue
        if read != (one,):
            yield f"{text!r} reads back as {', '.join(map(repr, read))}, not as {one!r}"
        elif str(read[0]) != text:
            yield f"{text!r} reads back as a pass that prints {str(read[0])!r}"


def documentation(a_pass: Pass) -> Iterator[str]:
    """Yield the options and statistics without a text for the manual."""
    for option in options_of(type(a_pass)):
        if not option.help.strip():
            yield f'option {option.name!r} has no help: fxc.option(..., help="...")'
    for name, meaning in statistics_of(type(a_pass)).items():
        if not meaning.strip():
            yield f'statistic {name!r} has no meaning: fxc.statistic("...")'


def validation(a_pass: Pass) -> Iterator[str]:
    """Yield the options that take what is not of their type."""
    for option in options_of(type(a_pass)):
        try:
            made = dataclasses.replace(a_pass, **{option.name: _Nothing()})
        except FxcompressError:
            continue
        except Exception as error:  # noqa: BLE001  whatever its __post_init__ raises is its fault, and is named
            yield f"an illegal {option.name!r} raises {type(error).__name__}, not PipelineError"
            continue
        yield f"option {option.name!r} takes {getattr(made, option.name)!r}: call super().__post_init__() first"


class _Nothing:
    """A value that fits no option."""

    def __repr__(self) -> str:
        return "anything"
