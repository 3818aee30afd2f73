"""Names that a file may bring. FX writes Python source from them, so each is checked before it gets there."""

from __future__ import annotations

import keyword
import re

import torch

from fxcompress.errors import ArtifactError
from fxcompress.targets.json_text import short

MAX_NAME = 1_000
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# A word of a path may be any visible ASCII but what ends a Python string or escapes in one: FX writes
# `getattr(x, "word")` for words that are no identifiers, such as the index of a layer.
_PATH_WORD = re.compile(r"[ !#-&(-\[\]-~]+", re.ASCII)
_LABEL = re.compile(r"[ !#-&(-\[\]-~]*", re.ASCII)
# What FX gives a meaning of its own in the source it writes.
_RESERVED = frozenset({"self", "torch", "fx_pytree", "pytree", "device", "inf", "nan", "NoneType"})


def identifier(name: str, what: str) -> str:
    """Return `name`, a plain ASCII identifier that is no keyword, no dunder, and nothing that FX uses itself."""
    if name in _RESERVED:
        raise ArtifactError(f"{what} {short(name)} is reserved")
    return argument_name(name, what)


def argument_name(name: str, what: str) -> str:
    """Return `name`, a plain ASCII identifier that is no keyword and no dunder."""
    if len(name) > MAX_NAME or not _IDENTIFIER.fullmatch(name) or keyword.iskeyword(name) or name.startswith("__"):
        raise ArtifactError(f"{what} {short(name)} is no plain identifier")
    return name


def tensor_path(path: str, what: str = "the path") -> str:
    """Return `path`, a dotted name under which a module can hold a tensor."""
    if len(path) > MAX_NAME:
        raise ArtifactError(f"{what} {short(path)} is longer than {MAX_NAME} characters")
    words = path.split(".")
    for position, word in enumerate(words):
        if not _PATH_WORD.fullmatch(word) or keyword.iskeyword(word) or word.startswith("__"):
            raise ArtifactError(f"{what} {short(path)} has a word that no module may have: {short(word)}")
        # A tensor named `forward` or `_parameters` would stand in the way of the module itself.
        taken = _TAKEN_AT_ROOT if position == 0 else _TAKEN
        if word in taken:
            raise ArtifactError(f"{what} {short(path)} has a word that modules use themselves: {short(word)}")
    return path


def label(text: str, what: str) -> str:
    """Return `text`, a string that is only ever shown: visible ASCII without quotes and backslashes."""
    if len(text) > MAX_NAME or not _LABEL.fullmatch(text):
        raise ArtifactError(f"{what} {short(text)} has characters that are not allowed there")
    return text


def as_label(text: str) -> str:
    """Return `text` with whatever a label may not have replaced by `?`."""
    return "".join(character if _LABEL.fullmatch(character) else "?" for character in text[:MAX_NAME])


_TAKEN = frozenset(dir(torch.nn.Module()))
_TAKEN_AT_ROOT = (
    _TAKEN
    | frozenset(dir(torch.fx.GraphModule))
    | frozenset(torch.fx.GraphModule(torch.nn.Module(), torch.fx.Graph()).__dict__)
    | {"shape_env", "range_constraints", "validate_inputs", "_in_spec", "_out_spec"}
)
