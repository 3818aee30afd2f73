"""The arguments of a node as texts that refer to other nodes and to parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.fx import Node

from fxcompress.graph.types import dtype_text

# Arguments that say how a backend may go about it, not what comes out.
BACKEND_HINTS = ("cudnn_enabled", "cudnn_enable")


@dataclass(frozen=True)
class Piece:
    """A part of an argument: plain text, the name of a node, or the path of a parameter."""

    kind: Literal["text", "node", "parameter"]
    text: str


@dataclass(frozen=True)
class Argument:
    """One argument of a call.

    Attributes:
        key: its name in the operator's schema, or its position.
        pieces: its text, in parts.
        named: whether it is written with its name: `stride=[2, 2]`.
    """

    key: str
    pieces: tuple[Piece, ...]
    named: bool = False


def arguments_of(node: Node) -> tuple[Argument, ...]:
    """Return the arguments of `node` without those that have their default value."""
    if node.op == "placeholder":
        position = node.graph.find_nodes(op="placeholder").index(node)
        return (Argument("position", (Piece("text", str(position)),)),)
    if node.op == "output":
        value = node.args[0]
        results = value if isinstance(value, list | tuple) else (value,)
        return tuple(Argument(str(position), tuple(pieces_of(item))) for position, item in enumerate(results))
    schema = getattr(getattr(node.target, "_schema", None), "arguments", ())
    made: list[Argument] = []
    named = False
    for position, value in enumerate(node.args):
        parameter = schema[position] if position < len(schema) else None
        if parameter is None:
            made.append(Argument(str(position), tuple(pieces_of(value))))
        elif parameter.name in BACKEND_HINTS or _is_left_out(value, parameter):
            named = True
        else:
            named = named or _needs_name(position, value, parameter.has_default_value())
            made.append(Argument(parameter.name, tuple(pieces_of(value)), named))
    defaults = {parameter.name: parameter.default_value for parameter in schema if parameter.has_default_value()}
    for name in sorted(node.kwargs):
        if name not in defaults or not _is_default(node.kwargs[name], defaults[name]):
            made.append(Argument(name, tuple(pieces_of(node.kwargs[name])), named=True))
    return tuple(made)


def _needs_name(position: int, value: Any, optional: bool) -> bool:
    """Whether a positional argument reads better with its name: options, and figures far behind."""
    if isinstance(value, Node):
        return False
    return optional or isinstance(value, bool) or (isinstance(value, float) and position > 1)


def _is_left_out(value: Any, parameter: Any) -> bool:
    return parameter.has_default_value() and _is_default(value, parameter.default_value)


def _is_default(value: Any, default: Any) -> bool:
    if isinstance(value, list) and isinstance(default, list):
        return len(value) == len(default) and all(map(_is_default, value, default))
    return type(value) is type(default) and bool(value == default)


def pieces_of(value: Any) -> Iterator[Piece]:
    """Yield the text of `value` in parts; neighbouring plain texts are one part."""
    plain = ""
    for piece in _pieces(value):
        if piece.kind == "text":
            plain += piece.text
            continue
        if plain:
            yield Piece("text", plain)
            plain = ""
        yield piece
    if plain:
        yield Piece("text", plain)


def _pieces(value: Any) -> Iterator[Piece]:
    if isinstance(value, Node):
        kind: Literal["node", "parameter"] = "parameter" if value.op == "get_attr" else "node"
        yield Piece(kind, str(value.target) if value.op == "get_attr" else value.name)
    elif isinstance(value, list):
        yield from _sequence("[", list(value), "]")
    elif isinstance(value, tuple):
        yield from _sequence("(", list(value), ",)" if len(value) == 1 else ")")
    elif isinstance(value, dict):
        yield from _mapping(value)
    elif isinstance(value, slice) and value.step is None:
        yield from (*_bound(value.start), Piece("text", ":"), *_bound(value.stop))
    else:
        yield Piece("text", _literal(value))


def _sequence(start: str, items: list[Any], end: str) -> Iterator[Piece]:
    yield Piece("text", start)
    for position, item in enumerate(items):
        if position:
            yield Piece("text", ", ")
        yield from _pieces(item)
    yield Piece("text", end)


def _mapping(value: dict[Any, Any]) -> Iterator[Piece]:
    yield Piece("text", "{")
    for position, (key, item) in enumerate(value.items()):
        yield Piece("text", f"{', ' if position else ''}{key}: ")
        yield from _pieces(item)
    yield Piece("text", "}")


def _bound(value: Any) -> Iterator[Piece]:
    yield from () if value is None else _pieces(value)


def _literal(value: Any) -> str:
    if isinstance(value, torch.dtype):
        return dtype_text(value)
    if isinstance(value, torch.device | torch.layout | torch.memory_format):
        return str(value).removeprefix("torch.")
    return repr(value)
