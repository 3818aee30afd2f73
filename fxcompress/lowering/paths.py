"""Reads of stored tensors in the code of a graph: each submodule on the way to them is looked up once a call.

PyTorch looks attributes of modules up in Python. `self.a.b.c.weight` and `self.a.b.c.weight_scale` take 9 microseconds
together, as long as a small layer itself.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from torch.fx import GraphModule

Lines = list[str]
Transformer = Callable[[Lines], Lines]


def look_up_owners_once(module: GraphModule) -> None:
    """Let the code of `module` keep submodules that it has looked up, within a call."""
    module.graph.on_generate_code(_maker)


def _maker(current: Transformer | None) -> Transformer:
    if current is None or current is with_owners:
        return with_owners
    before = current
    return lambda lines: with_owners(before(lines))


def with_owners(lines: Lines) -> Lines:
    """Return the lines of a function that reads stored tensors, with one look-up for each submodule."""
    known: dict[tuple[str, ...], str] = {(): "self"}
    made: Lines = []
    for line in lines:
        words = _path_read(line)
        if not words:
            made.append(line)
            continue
        indent = line[: len(line) - len(line.lstrip())]
        for length in range(1, len(words)):
            if words[:length] not in known:
                owner = known[words[:length]] = f"_owner_{len(known)}"
                made.append(f"{indent}{owner} = {known[words[: length - 1]]}._modules[{words[length - 1]!r}]\n")
        statement, separator, rest = line.partition(";")
        name = statement.partition("=")[0].rstrip()
        end = "" if separator else "\n"
        made.append(f"{name} = getattr({known[words[:-1]]}, {words[-1]!r}){separator}{rest}{end}")
    return made


def _path_read(line: str) -> tuple[str, ...]:
    """Return the path under `self` that a line reads into a variable, nothing for another line."""
    text = line.strip()
    if "= " not in text or "self" not in text or "\n" in text:
        return ()
    try:
        parsed = ast.parse(text).body
    except SyntaxError:
        return ()
    first = parsed[0] if parsed else None
    return _words(first.value) if isinstance(first, ast.Assign | ast.AnnAssign) else ()


def _words(value: Any) -> tuple[str, ...]:
    """Return the path of `self.a.b` or `getattr(self.a, "0").b`."""
    words: list[str] = []
    while not isinstance(value, ast.Name):
        if isinstance(value, ast.Attribute):
            words.insert(0, value.attr)
            value = value.value
        elif isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "getattr":
            words.insert(0, str(ast.literal_eval(value.args[1])))
            value = value.args[0]
        else:
            return ()
    return tuple(words) if value.id == "self" else ()
