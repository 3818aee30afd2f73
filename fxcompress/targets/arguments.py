"""Values of arguments as JSON, and back: numbers, strings, nodes, tensors, dtypes, and nests of them.

Numbers, strings, `true`, `false`, `null` and lists stand for themselves. Everything else is an object of one field that
says what it is: `{"node": "conv2d"}`, `{"tuple": [1, 2]}`, `{"dtype": "bfloat16"}`, `{"float": "nan"}`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.fx import Node

from fxcompress.errors import ArtifactError
from fxcompress.targets.json_text import checked, short
from fxcompress.text import suggestion

MAX_NESTING = 12
MAX_STRING = 10_000

# Without those of quantized tensors and of bare bits, for which ops have no rules.
DTYPES: dict[str, torch.dtype] = {
    name: found
    for name in sorted(dir(torch))
    if isinstance(found := getattr(torch, name), torch.dtype)
    and str(found) == f"torch.{name}"
    and name.startswith(("bool", "int", "uint", "float", "bfloat", "complex"))
}
_LAYOUTS = {"strided": torch.strided}
_MEMORY_FORMATS = {
    str(found).removeprefix("torch."): found
    for found in (torch.contiguous_format, torch.preserve_format, torch.channels_last, torch.channels_last_3d)
}
_SPECIAL_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def encode(value: Any, reference: Callable[[Any], Any] | None = None) -> Any:
    """Return `value` as JSON.

    Args:
        value: what stands in the arguments of a node.
        reference: gives JSON for a node or a tensor, where these may stand.

    Raises:
        ArtifactError: a value of a type that artifacts do not hold.
    """
    return _encode(value, reference, 0)


def _encode(value: Any, reference: Callable[[Any], Any] | None, depth: int) -> Any:
    if depth > MAX_NESTING:
        raise ArtifactError(f"a value nests deeper than {MAX_NESTING} levels")
    if isinstance(value, Node | torch.Tensor) and reference is not None:
        return reference(value)
    if isinstance(value, tuple | list | dict | slice):
        return _encode_nest(value, lambda item: _encode(item, reference, depth + 1))
    return _encode_leaf(value)


def _encode_nest(value: Any, inner: Callable[[Any], Any]) -> Any:
    if isinstance(value, slice):
        return {"slice": [inner(value.start), inner(value.stop), inner(value.step)]}
    if isinstance(value, dict):
        return {"dict": [[inner(key), inner(item)] for key, item in value.items()]}
    if hasattr(value, "_fields"):
        raise ArtifactError(f"a value of the type {type(value).__name__} (a named tuple) has no place in an artifact")
    items = [inner(item) for item in value]
    return {"tuple": items} if isinstance(value, tuple) else items


def _encode_leaf(value: Any) -> Any:
    if value is None or type(value) is bool:
        return value
    if type(value) is int and -(2**63) <= value < 2**64:
        return value
    if type(value) is str and len(value) <= MAX_STRING:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if type(value) is complex:
        return {"complex": [_encode_leaf(value.real), _encode_leaf(value.imag)]}
    if value is Ellipsis:
        return {"ellipsis": None}
    if isinstance(value, torch.device):
        # Artifacts hold their tensors on the CPU, so that is where their calls make new ones.
        return {"device": "meta" if value.type == "meta" else "cpu"}
    for word, (kind, table) in _TORCH_WORDS.items():
        name = str(value).removeprefix("torch.")
        if isinstance(value, kind) and name in table:
            return {word: name}
    raise ArtifactError(f"a value of the type {type(value).__name__} has no place in an artifact: {short(value)}")


_TORCH_WORDS: dict[str, tuple[type, Mapping[str, Any]]] = {
    "dtype": (torch.dtype, DTYPES),
    "layout": (torch.layout, _LAYOUTS),
    "memory_format": (torch.memory_format, _MEMORY_FORMATS),
}


def decode(value: Any, references: Mapping[str, Callable[[Any], Any]] | None = None) -> Any:
    """Return what `encode` was given.

    Args:
        value: JSON.
        references: for `node` and `tensor`, where these may stand: what gives the object for its name.

    Raises:
        ArtifactError: nothing that `encode` writes.
    """
    return _decode(value, references or {}, 0)


def _decode(value: Any, references: Mapping[str, Callable[[Any], Any]], depth: int) -> Any:
    if depth > MAX_NESTING:
        raise ArtifactError(f"a value nests deeper than {MAX_NESTING} levels")
    if isinstance(value, list):
        return [_decode(item, references, depth + 1) for item in value]
    if isinstance(value, str) and len(value) > MAX_STRING:
        raise ArtifactError(f"a string of {len(value):,} characters; {MAX_STRING:,} are allowed")
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise ArtifactError(f"a value with {len(value)} fields, where one says what it is")
    (word, content), *_ = value.items()
    if word in references:
        return references[word](checked(content, str, f"the name of a {word}"))
    if word in _NESTS:
        return _NESTS[word](checked(content, list, f"a {word}"), lambda item: _decode(item, references, depth + 1))
    if word in _LEAVES:
        return _LEAVES[word](content)
    raise ArtifactError(
        f"a value of an unknown kind {short(word)}", hint=suggestion(word[:80], [*references, *_NESTS, *_LEAVES])
    )


def _slice(content: list[Any], inner: Callable[[Any], Any]) -> slice:
    if len(content) != 3:
        raise ArtifactError(f"a slice of {len(content)} parts")
    return slice(*(inner(item) for item in content))


def _dict(content: list[Any], inner: Callable[[Any], Any]) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for pair in content:
        entry = checked(pair, list, "an entry of a dictionary")
        if len(entry) != 2 or type(entry[0]) not in (str, int, bool, type(None)):
            raise ArtifactError("an entry of a dictionary is no pair of a plain key and a value")
        if pair[0] in made:
            raise ArtifactError(f"the key {short(pair[0])} of a dictionary is given twice")
        made[inner(pair[0])] = inner(pair[1])
    return made


def _complex(content: Any) -> complex:
    parts = [_decode(part, {}, MAX_NESTING) for part in checked(content, list, "a complex number")]
    if len(parts) != 2 or not all(type(part) is float for part in parts):
        raise ArtifactError("a complex number is not two numbers")
    return complex(*parts)


def _named(table: Mapping[str, Any], kind: str) -> Callable[[Any], Any]:
    def find(name: Any) -> Any:
        if type(name) is not str or name not in table:
            raise ArtifactError(f"there is no {kind} {short(name)}", hint=suggestion(str(name)[:80], table))
        return table[name]

    return find


def dtype(name: Any) -> torch.dtype:
    """Return the dtype of that name: `float32`."""
    found = _named(DTYPES, "dtype")(name)
    assert isinstance(found, torch.dtype)
    return found


def _ellipsis(content: Any) -> Any:
    if content is not None:
        raise ArtifactError("an ellipsis has no content")
    return Ellipsis


_NESTS: dict[str, Callable[[list[Any], Callable[[Any], Any]], Any]] = {
    "tuple": lambda content, inner: tuple(inner(item) for item in content),
    "slice": _slice,
    "dict": _dict,
}
_LEAVES: dict[str, Callable[[Any], Any]] = {
    "float": _named(_SPECIAL_FLOATS, "special number"),
    "complex": _complex,
    "dtype": dtype,
    "device": _named({name: torch.device(name) for name in ("cpu", "meta")}, "device"),
    "layout": _named(_LAYOUTS, "layout"),
    "memory_format": _named(_MEMORY_FORMATS, "memory format"),
    "ellipsis": _ellipsis,
}
