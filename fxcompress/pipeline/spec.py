"""Pipelines as text: the grammar, and errors that underline the place.

    pipeline := element ("," element)*          element := word options?
    options  := "{" (word "=" value)* "}"       value   := word ("," word)*

The lexer knows no types: the option that receives a word reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from fxcompress.contract import Pass, Target, check_class, options_of
from fxcompress.contract.configured import Configured
from fxcompress.errors import PipelineError
from fxcompress.plugins import Plugins
from fxcompress.text import Span, suggestion

_TOKEN = re.compile(r"[,{}=]|[^\s,{}=]+")
_PUNCTUATION = frozenset(",{}=")
Kind = TypeVar("Kind", bound=Configured)


@dataclass(frozen=True)
class Pipeline:
    """Passes in the order in which they run. `str` gives the canonical text, and `parse(str(p)) == p`."""

    passes: tuple[Pass, ...]

    @classmethod
    def parse(cls, text: str, plugins: Plugins | None = None) -> Pipeline:
        """Read a pipeline; a named pipeline stands for the passes of its text.

        Args:
            text: see the grammar above; white space and newlines are free.
            plugins: where passes are looked up; by default everything that is installed.

        Raises:
            PipelineError: the text does not read; the place is underlined and the nearest name offered.
        """
        return cls(tuple(_Parser(text, plugins or Plugins()).passes()))

    @classmethod
    def of(cls, passes: Pipeline | str | Pass | Iterable[object], plugins: Plugins | None = None) -> Pipeline:
        """Return a pipeline from a text, a pipeline, or passes.

        Raises:
            PipelineError: the text does not read, or something is no pass.
        """
        if isinstance(passes, Pipeline):
            return passes
        if isinstance(passes, str):
            return cls.parse(passes, plugins)
        return cls(tuple(map(checked, [passes] if isinstance(passes, Pass) else passes)))

    def __iter__(self) -> Iterator[Pass]:
        return iter(self.passes)

    def __len__(self) -> int:
        return len(self.passes)

    def __str__(self) -> str:
        return ",".join(str(one) for one in self.passes)


def checked(one: object) -> Pass:
    """Return `one` where it is a pass that keeps the contract, else raise PipelineError."""
    if not isinstance(one, Pass):
        wrong = f"the class {one.__name__}" if isinstance(one, type) else repr(one)
        raise PipelineError(f"a pipeline takes passes, not {wrong}", hint="give objects: Mask(sparsity=0.5)")
    check_class(type(one))
    return one


def parse_target(text: str, plugins: Plugins) -> Target:
    """Read a target with its options: `onnx`, `onnx{opset=21}`.

    Raises:
        PipelineError: the text does not read; the place is underlined and the nearest name offered.
    """
    return _Parser(text, plugins).target()


class _Parser:
    """Reads one text by recursive descent over its tokens."""

    def __init__(self, text: str, plugins: Plugins, within: tuple[str, ...] = ()) -> None:
        self.text = text
        self.plugins = plugins
        self.within = within
        self.tokens = [Span(text, found.start(), found.end()) for found in _TOKEN.finditer(text)]
        self.at = 0

    def passes(self) -> list[Pass]:
        found = self._element()
        while self._peek() is not None:
            self._take(",", "a comma comes between passes")
            found += self._element()
        return found

    def target(self) -> Target:
        name = self._word("a target")
        brace = self._peek()
        given = self._options() if brace is not None and brace.word == "{" else []
        if self._peek() is not None:
            self._fail("one target is enough", self._peek())
        if name.word not in self.plugins.targets.entries:
            self._fail(f"there is no target {name.word!r}", name, suggestion(name.word, self.plugins.targets.entries))
        cls: type[Target] = self.plugins.targets.get(name.word)
        return self._build(cls, name, given)

    def _element(self) -> list[Pass]:
        name = self._word("a pass or a pipeline")
        brace = self._peek()
        given = self._options() if brace is not None and brace.word == "{" else []
        if name.word in self.plugins.pipelines.entries:
            if given:
                self._fail(f"pipeline {name.word!r} takes no options", given[0][0])
            return self._named(name)
        if name.word not in self.plugins.passes.entries:
            known = [*self.plugins.passes.entries, *self.plugins.pipelines.entries]
            self._fail(f"there is no pass {name.word!r}", name, suggestion(name.word, known))
        return [self._build(self.plugins.passes.get(name.word), name, given)]

    def _named(self, name: Span) -> list[Pass]:
        if name.word in self.within:
            self._fail(f"pipeline {name.word!r} contains itself", name)
        text = self.plugins.pipelines.get(name.word)
        return _Parser(text, self.plugins, (*self.within, name.word)).passes()

    def _options(self) -> list[tuple[Span, list[Span]]]:
        self._take("{", "options stand in braces")
        given = []
        while (token := self._peek()) is not None and token.word != "}":
            name = self._word("an option")
            self._take("=", f"option {name.word!r} needs a value: {name.word}=...")
            values = [self._word(f"a value of {name.word!r}")]
            while (token := self._peek()) is not None and token.word == ",":
                self.at += 1
                values.append(self._word(f"a value of {name.word!r}"))
                self._no_option_after_comma(values[-1])
            given.append((name, values))
        self._take("}", "the brace is not closed")
        return given

    def _no_option_after_comma(self, value: Span) -> None:
        after = self._peek()
        if after is not None and after.word == "=":
            self._fail("options are separated by spaces, a comma separates values", value, "leave the comma out")

    def _build(self, cls: type[Kind], name: Span, given: list[tuple[Span, list[Span]]]) -> Kind:
        options = {option.name: option for option in options_of(cls)}
        values: dict[str, object] = {}
        for key, words in given:
            # `min-sqnr` is as good as `min_sqnr`: names of passes have hyphens, and nobody remembers which has what.
            option = key.word.replace("-", "_")
            if option not in options:
                self._fail(f"{cls.kind} {cls.name!r} has no option {key.word!r}", key, suggestion(key.word, options))
            if option in values:
                self._fail(f"option {option!r} is given twice", key)
            place = Span(self.text, words[0].start, words[-1].end)
            values[option] = self._read(cls, option, tuple(word.word for word in words), place)
        for missing in [option.name for option in options.values() if option.required and option.name not in values]:
            self._fail(f"{cls.kind} {cls.name!r} needs option {missing!r}", name, f"{cls.name}{{{missing}=...}}")
        try:
            return cls(**values)
        except PipelineError as error:
            self._fail(error.message, name, error.hint)

    def _read(self, cls: type[Configured], name: str, words: tuple[str, ...], place: Span) -> object:
        option = next(option for option in options_of(cls) if option.name == name)
        try:
            return option.read(words)
        except PipelineError as error:
            message = error.message if error.message.startswith("option ") else f"option {name!r}: {error.message}"
            self._fail(message, place, error.hint)

    def _peek(self) -> Span | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def _word(self, wanted: str) -> Span:
        token = self._peek()
        if token is None or token.word in _PUNCTUATION:
            self._fail(f"here {wanted} is missing", token)
        self.at += 1
        return token

    def _take(self, word: str, why: str) -> None:
        token = self._peek()
        if token is None or token.word != word:
            self._fail(why, token)
        self.at += 1

    def _fail(self, message: str, place: Span | None, hint: str | None = None) -> NoReturn:
        place = place or Span(self.text, len(self.text.rstrip()), len(self.text.rstrip()) + 1)
        inside = f" (in pipeline {self.within[-1]!r})" if self.within else ""
        raise PipelineError(f"{message}{inside}\n{place.underlined()}", hint=hint)
