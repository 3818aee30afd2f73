"""Other legal values for the options of a pass, so that its text is tried with every one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import product
from typing import Any, Literal, get_args, get_origin

from fxcompress.contract import Pass, options_of
from fxcompress.contract.options import Option
from fxcompress.errors import PipelineError

_WORDS = ("layer", "layer1.*", "2:4", "w8a8", "1")
_WHOLE = (2, 1, 0, 3, 4, 8, 16, 100, -1)
_NUMBERS = (0.25, 0.75, 1.5, 1e-3, 10.0, 0.1, 1.0, 0.0, 100.0, -0.5)


def variants(a_pass: Pass) -> tuple[list[Pass], list[str]]:
    """Return passes like `a_pass` that differ in one option each, and the options without another legal value."""
    made, without = [], []
    for option in options_of(type(a_pass)):
        variant = next(variants_in(a_pass, option), None)
        if variant is None:
            without.append(option.name)
        else:
            made.append(variant)
    return made, without


def variants_in(a_pass: Pass, option: Option) -> Iterator[Pass]:
    """Yield passes like `a_pass` with other legal values of one option, which are not its default either."""
    for value in values_of(option.type):
        if value in (option.default, getattr(a_pass, option.name)):
            continue
        try:
            option.validate(value)
            yield dataclasses.replace(a_pass, **{option.name: value})
        except PipelineError:
            continue


def values_of(kind: Any) -> Iterator[Any]:
    """Yield some values of an option's type, legal or not."""
    arguments = get_args(kind)
    if get_origin(kind) is tuple:
        items = list(values_of(arguments[0]))
        yield from ((item,) for item in items)
        yield from product(items, repeat=2)
    elif get_origin(kind) is Literal:
        yield from arguments
    elif kind in (bool, int, float, str):
        yield from {bool: (True, False), int: _WHOLE, float: _NUMBERS, str: _WORDS}[kind]
    elif kind is type(None):
        yield None
    else:
        for part in arguments:
            yield from values_of(part)
