"""JSON as artifacts use it: one text for one value, and a reader that trusts nothing it is given."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from fxcompress.errors import ArtifactError
from fxcompress.text import suggestion

MAX_DEPTH = 64
# A string, one that the text ends in too, is passed over in one go: whatever stands in it, time is linear.
_STRUCTURE = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


def dump(value: Any) -> str:
    """Return the one text of `value`: ASCII, no white space, keys in the order they are given."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def parse(text: str, what: str, max_depth: int = MAX_DEPTH) -> Any:
    """Return the value of `text`.

    Raises:
        ArtifactError: no JSON, nested deeper than `max_depth`, a key that is given twice, or a number out of range.
    """
    _check_depth(text, what, max_depth)
    try:
        return _DECODER.decode(text)
    except ValueError as error:
        raise ArtifactError(f"{what} is no JSON: {error}") from None


def _check_depth(text: str, what: str, max_depth: int) -> None:
    # Python's own parser recurses once a level, so depth is bounded before it sees the text.
    depth = 0
    for found in _STRUCTURE.finditer(text):
        mark = found.group()
        if mark in "[{":
            depth += 1
            if depth > max_depth:
                raise ArtifactError(f"{what} nests deeper than {max_depth} levels")
        elif mark in "]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is given twice")
    return made


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:40]} is too large")
    return number


def _int64(digits: str) -> int:
    # Length first: reading a number of many digits takes time in the square of them.
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise ValueError(f"the number {digits[:40]} does not fit 64 bits")
    return int(digits)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite, parse_int=_int64
)


def record(
    value: Any, what: str, required: Mapping[str, type], optional: Mapping[str, type] | None = None
) -> dict[str, Any]:
    """Return `value`, an object with the `required` keys, perhaps `optional` ones, no others, each of its type.

    Raises:
        ArtifactError: it is not; the key is named.
    """
    fields: dict[str, Any] = checked(value, dict, what)
    allowed = {**(optional or {}), **required}
    for key in fields:
        if key not in allowed:
            raise ArtifactError(f"{what} has an unknown field {key[:80]!r}", hint=suggestion(key[:80], allowed))
    for key in required:
        if key not in fields:
            raise ArtifactError(f"{what} has no field {key!r}")
    for key, item in fields.items():
        checked(item, allowed[key], f"{key!r} of {what}")
    return fields


def checked(value: Any, kind: type, what: str) -> Any:
    """Return `value`, which must be of exactly the type `kind`; `object` takes any."""
    if kind is not object and type(value) is not kind:
        raise ArtifactError(f"{what} should be {_KINDS[kind]}, not {short(value)}")
    return value


_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "a whole number",
    bool: "true or false",
    float: "a number",
}


def strings(value: Any, what: str) -> list[str]:
    """Return `value`, a list of strings."""
    return [checked(item, str, f"an item of {what}") for item in checked(value, list, what)]


def unique(names: Iterable[str], what: str) -> None:
    """Raise where a name comes twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ArtifactError(f"{what} {name[:80]!r} is given twice")
        seen.add(name)


def short(value: Any) -> str:
    """Return `value` for a message, cut to a length that fits a line."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
