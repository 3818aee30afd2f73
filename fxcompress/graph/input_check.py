"""What one input of a graph takes: a tensor of a shape, or the constant that it was captured with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Node

from fxcompress.errors import InputError
from fxcompress.graph.parameters import is_constant, same_constant
from fxcompress.graph.types import dtype_text


class Input:
    """What one placeholder of a graph takes, read off its fake value."""

    def __init__(self, node: Node, names: dict[str, str]) -> None:
        self.name = str(node.target)
        value = node.meta.get("val")
        self.constant = "val" in node.meta and is_constant(value)
        self.value = value if self.constant else None
        self.dtype = value.dtype if isinstance(value, torch.Tensor) else None
        sizes: Sequence[Any] = value.shape if isinstance(value, torch.Tensor) else ()
        # A size is a number, or the name of a symbol; one that is computed from symbols (None) is not checked.
        self.sizes = [size if isinstance(size, int) else _symbol(size, names) for size in sizes]

    def check(self, value: Any, symbols: dict[str, tuple[int, str]]) -> None:
        """Raise an InputError where `value` does not fit; `symbols` collects sizes and the input that gave them."""
        if self.dtype is not None:
            self._check_tensor(value, symbols)
        elif self.constant and not (is_constant(value) and same_constant(value, self.value)):
            raise InputError(
                f"input {self.name!r} is {_said(value)}, the model was captured with {self.value!r}",
                hint="what is no tensor is part of the graph: capture the model once more with the other value",
            )

    def _check_tensor(self, value: Any, symbols: dict[str, tuple[int, str]]) -> None:
        if not isinstance(value, torch.Tensor):
            raise InputError(f"input {self.name!r} is {_said(value)}, the model was captured with a tensor {self}")
        if value.dim() != len(self.sizes):
            raise self._wrong(value, self._free())
        for given, wanted in zip(tuple[Any, ...](value.shape), self.sizes, strict=True):
            if not isinstance(given, int) or wanted is None:
                continue
            if isinstance(wanted, int):
                if given != wanted:
                    raise self._wrong(value, self._free())
            elif symbols.setdefault(wanted, (given, self.name))[0] != given:
                size, name = symbols[wanted]
                raise self._wrong(value, f"the batch of input {name!r} is {size}, and all inputs have the same")

    def _free(self) -> str:
        dynamic = any(not isinstance(size, int) for size in self.sizes)
        return "only the batch size may differ" if dynamic else "capture the model once more with inputs of that shape"

    def _wrong(self, value: torch.Tensor, hint: str) -> InputError:
        given = ", ".join(str(size) for size in value.shape)
        return InputError(f"input {self.name!r} has shape [{given}], the model was captured for {self}", hint=hint)

    def __str__(self) -> str:
        assert self.dtype is not None
        return f"{dtype_text(self.dtype)}[{', '.join('?' if size is None else str(size) for size in self.sizes)}]"


def _symbol(size: torch.SymInt, names: dict[str, str]) -> int | str | None:
    expression = size.node.expr
    if expression.is_number:
        return int(expression)
    return names.get(str(expression), str(expression)) if expression.is_symbol else None


def _said(value: Any) -> str:
    return repr(value) if is_constant(value) else f"a {type(value).__name__}"
