"""Options of a pass: dataclass fields that document themselves, check their values, and read their own words."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

from fxcompress.errors import PipelineError
from fxcompress.text import suggestion

_METADATA = "fxcompress.option"
_TRUE, _FALSE, _NONE = ("true", "yes", "on"), ("false", "no", "off"), "none"


@dataclasses.dataclass(frozen=True)
class Check:
    """A condition on an option's value, and how it reads after "must be"."""

    text: str
    holds: Callable[[Any], bool]


def between(low: float, high: float) -> Check:
    """Return a check that a number lies in the closed interval from `low` to `high`."""
    return Check(f"between {low} and {high}", lambda value: low <= value <= high)


def at_least(low: float) -> Check:
    """Return a check that a number is `low` or larger."""
    return Check(f"at least {low}", lambda value: value >= low)


def above(low: float) -> Check:
    """Return a check that a number is larger than `low`."""
    return Check(f"above {low}", lambda value: value > low)


@dataclasses.dataclass(frozen=True)
class OptionMetadata:
    """What `option` keeps in the metadata of a dataclass field."""

    help: str
    check: Check | None


def option(default: Any = dataclasses.MISSING, *, help: str, check: Check | None = None) -> Any:  # noqa: A002
    """Declare an option of a pass: a dataclass field with a text for the manual and a check.

    Its annotation says how it is read from a pipeline's text: `bool`, `int`, `float`, `str`, a `Literal` of strings, a
    `tuple[..., ...]` of these (words with commas), or one of these `| None` (the word `none`). An option without a
    default must be given.
    """
    return dataclasses.field(default=default, metadata={_METADATA: OptionMetadata(help, check)})


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a pass class, as the manual and the parser see it."""

    name: str
    type: Any
    default: Any
    help: str
    check: Check | None

    @property
    def required(self) -> bool:
        return self.default is dataclasses.MISSING

    def read(self, words: tuple[str, ...]) -> Any:
        """Return the value that `words` spell.

        Raises:
            PipelineError: they spell none of this option's type, or the check does not hold.
        """
        value = read_words(words, self.type)
        self.validate(value)
        return value

    def canonical(self, value: Any) -> Any:
        """Return a legal value as words give it, so that equal passes have one text: `1` as `1.0` for a number."""
        inner, _ = _without_none(self.type)
        if isinstance(value, tuple):
            return tuple(float(item) for item in value) if get_args(inner)[0] is float else value
        return float(value) if inner is float and value is not None else value

    def validate(self, value: Any) -> None:
        """Raise PipelineError where `value` is not of the type or does not pass the check."""
        if not fits(value, self.type):
            raise PipelineError(f"option {self.name!r} takes {type_words(self.type)}, not {value!r}")
        for item in value if isinstance(value, tuple) else (value,):
            if self.check is not None and item is not None and not self.check.holds(item):
                raise PipelineError(f"option {self.name!r} must be {self.check.text}, not {item!r}")


def options_of(cls: type) -> tuple[Option, ...]:
    """Return the options of a pass class, in the order of its fields.

    Raises:
        PipelineError: a field was not made by `option`, or its type cannot be read from words.
    """
    hints = typing.get_type_hints(cls)
    found = []
    for field in dataclasses.fields(cls):
        metadata = field.metadata.get(_METADATA)
        if metadata is None:
            raise PipelineError(
                f"field {field.name!r} of {cls.__qualname__} is no option",
                hint=f'declare it as  {field.name}: ... = fxc.option(default, help="...")',
            )
        if field.name.startswith("_") or not readable(hints[field.name]):
            raise PipelineError(f"option {field.name!r} of {cls.__qualname__} has a type that no words spell")
        found.append(Option(field.name, hints[field.name], field.default, metadata.help, metadata.check))
    return tuple(found)


def read_words(words: tuple[str, ...], kind: Any) -> Any:
    """Return the value of type `kind` that `words` spell, or raise PipelineError."""
    inner, optional = _without_none(kind)
    if optional and words == (_NONE,):
        return None
    if get_origin(inner) is tuple:
        item = get_args(inner)[0]
        return () if words == (_NONE,) else tuple(_read_word(word, item) for word in words)
    if len(words) != 1:
        raise PipelineError(f"takes {type_words(kind)}, not {len(words)} values")
    return _read_word(words[0], inner)


def _read_word(word: str, kind: Any) -> Any:
    if get_origin(kind) is Literal:
        if word not in get_args(kind):
            raise PipelineError(f"there is no {word!r} here", hint=suggestion(word, get_args(kind)))
        return word
    if kind is bool:
        if word not in _TRUE + _FALSE:
            raise PipelineError(f"takes true or false, not {word!r}")
        return word in _TRUE
    try:
        return kind(word)
    except ValueError:
        raise PipelineError(f"takes {type_words(kind)}, not {word!r}") from None


def spell(value: Any) -> str:
    """Return the words that spell `value` in a pipeline's text."""
    if value is None or value == ():
        return _NONE
    if isinstance(value, bool):
        return _TRUE[0] if value else _FALSE[0]
    if isinstance(value, tuple):
        return ",".join(spell(item) for item in value)
    return repr(value) if isinstance(value, float) else str(value)


def fits(value: Any, kind: Any) -> bool:
    """Whether `value` is of type `kind`, an int serving as a float."""
    inner, optional = _without_none(kind)
    if value is None:
        return optional
    if get_origin(inner) is tuple:
        if not isinstance(value, tuple):
            return False
        # A word that is spelled as the absence of a value would not be read as itself.
        ambiguous = value == (_NONE,) or (optional and value == ())
        return not ambiguous and all(fits(item, get_args(inner)[0]) for item in value)
    if get_origin(inner) is Literal:
        return value in get_args(inner)
    if inner is str:
        return isinstance(value, str) and spellable(value) and not (optional and value == _NONE)
    if inner in (int, float) and isinstance(value, bool):
        return False
    return is_number(value) if inner is float else isinstance(value, inner)


def spellable(text: str) -> bool:
    """Whether `text` is one word of a pipeline's text."""
    return text != "" and not any(letter.isspace() or letter in ",{}=" for letter in text)


def is_number(value: Any) -> bool:
    """Whether `value` is an int or a float, and one that is equal to itself: NaN is not."""
    try:
        return isinstance(value, int | float) and bool(float(value) == value)
    except OverflowError:
        return False


def readable(kind: Any) -> bool:
    """Whether values of type `kind` can be read from words."""
    inner, optional = _without_none(kind)
    if get_origin(inner) is tuple:
        arguments = get_args(inner)
        return len(arguments) == 2 and arguments[1] is Ellipsis and _is_one_word(arguments[0])
    return _is_one_word(inner) and not (optional and _NONE in get_args(inner))


def _is_one_word(inner: Any) -> bool:
    if get_origin(inner) is Literal:
        return all(isinstance(word, str) and spellable(word) for word in get_args(inner))
    return inner in (bool, int, float, str)


_PLURALS = {str: "words", int: "whole numbers", float: "numbers"}


def type_words(kind: Any) -> str:
    """Return what an option of type `kind` takes, in words."""
    inner, optional = _without_none(kind)
    tail = " or none" if optional else ""
    if get_origin(inner) is tuple:
        return f"{_PLURALS.get(get_args(inner)[0], 'values')} with commas between{tail}"
    if get_origin(inner) is Literal:
        return " | ".join(get_args(inner)) + tail
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}[inner] + tail


def _without_none(kind: Any) -> tuple[Any, bool]:
    if get_origin(kind) in (types.UnionType, typing.Union):
        rest = [part for part in get_args(kind) if part is not type(None)]
        if len(rest) == 1:
            return rest[0], len(get_args(kind)) == 2
    return kind, False
