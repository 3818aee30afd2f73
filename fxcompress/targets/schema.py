"""Arguments of a call against the schema of what it calls: names, counts and kinds, before anything runs."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

from fxcompress.errors import ArtifactError
from fxcompress.targets.allow_list import arity
from fxcompress.targets.json_text import short
from fxcompress.text import suggestion

MAX_SIZES = 64
MAX_ITEMS = 16_384
_LIST = re.compile(r"List\[(.+)\]")
_OPTIONAL = re.compile(r"Optional\[(.+)\]")


def check_call(target: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Check the arguments of a call in a graph, where a node may stand for any value.

    Raises:
        ArtifactError: an argument that the function does not have, lacks, or does not take.
    """
    if isinstance(target, torch._ops.OpOverload):
        _check_overload(target, args, kwargs)
    else:
        _check_function(target, args, kwargs)


def _check_overload(target: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    parameters = target._schema.arguments
    positional = [parameter for parameter in parameters if not parameter.kwarg_only]
    if len(args) > len(positional):
        raise ArtifactError(f"{target} takes {len(positional)} positional arguments, not {len(args)}")
    given = {parameter.name: value for parameter, value in zip(positional, args, strict=False)}
    by_name = {parameter.name: parameter for parameter in parameters}
    for name, value in kwargs.items():
        if name not in by_name:
            raise ArtifactError(f"{target} has no argument {short(name)}", hint=suggestion(name[:80], by_name))
        if name in given:
            raise ArtifactError(f"{target} is given the argument {name} twice")
        given[name] = value
    for name, parameter in by_name.items():
        if name not in given and not parameter.has_default_value():
            raise ArtifactError(f"{target} is not given its argument {name}")
    for name, value in given.items():
        # What the plain type calls an int may be a dtype, and a number that is no dtype crashes PyTorch.
        kind = str(by_name[name].real_type)
        if not _fits(value, kind) or not _moderate(target, name, value):
            raise ArtifactError(f"{target} takes {kind} for {name}, not {short(value)}")


def _fits(value: Any, kind: str) -> bool:
    if isinstance(value, Node):
        return True
    if found := _OPTIONAL.fullmatch(kind):
        return value is None or _fits(value, found.group(1))
    if found := _LIST.fullmatch(kind):
        if isinstance(value, tuple | list):
            return len(value) <= MAX_ITEMS and all(_fits(item, found.group(1)) for item in value)
        # PyTorch takes one number for a list of equal ones.
        return found.group(1) in ("int", "float", "bool") and _fits(value, found.group(1))
    return type(value) in _KINDS.get(kind, ())


_KINDS: dict[str, tuple[type, ...]] = {
    # A number stands for a tensor where an op was captured with one.
    "Tensor": (int, float, bool, complex),
    "int": (int, bool),
    "float": (float, int, bool),
    "number": (int, float, bool, complex),
    "bool": (bool, int),
    "str": (str,),
    "Device": (torch.device,),
    "ScalarType": (torch.dtype,),
    "Layout": (torch.layout,),
    "MemoryFormat": (torch.memory_format,),
}

# Lists that may be long because they hold a number for every item of another list.
_LONG = ("split_with_sizes", "tensor_split", "ctc_loss")
# Numbers that say how often an op repeats itself: what a small file must not make large.
_REPEATS = {"diff": "n", "lstm": "num_layers", "gru": "num_layers", "rnn_tanh": "num_layers", "rnn_relu": "num_layers"}
MAX_REPEATS = 256


def _moderate(target: torch._ops.OpOverload, name: str, value: Any) -> bool:
    op = target._schema.name.split("::")[1]
    if name == _REPEATS.get(op):
        return type(value) is int and 0 <= value <= MAX_REPEATS
    plain = isinstance(value, tuple | list) and not any(isinstance(item, Node) for item in value)
    return not plain or len(value) <= MAX_SIZES or any(word in op for word in _LONG)


def _check_function(target: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    name, count = target.__name__, arity(target)
    if kwargs or len(args) != count:
        raise ArtifactError(f"{name} takes {count} positional arguments")
    # Python warns where the source has a number in the place of a list.
    if target is operator.getitem and not (isinstance(args[0], Node) and type(args[1]) is int):
        raise ArtifactError("getitem takes a node and a number")
    items = args[0] if target is torch.sym_sum and isinstance(args[0], tuple | list) else args
    for item in items:
        if not isinstance(item, Node) and type(item) not in (int, float, bool):
            raise ArtifactError(f"{name} takes numbers, not {short(item)}")
