"""One text for calculating with tensors now, and for writing the same calculation into a graph."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.tensors import add_tensor

Calculates = Callable[..., Any]


class Writer(Protocol):
    """Calls operators on values, which are tensors or nodes."""

    def call(self, target: Any, *args: Any) -> Any: ...

    def part(self, value: Any, index: int) -> Any:
        """Return one of the results of a call that has several."""

    def constant(self, name: str, make: Callable[[], torch.Tensor], like: Any) -> Any:
        """Return what `make` gives, of the dtype and on the device of `like`."""

    def tensor(self, value: Any) -> torch.Tensor:
        """Return a tensor of the dtype and shape of `value`; one without data where it is a node."""


class Now:
    """Calculates at once; constants are kept from one call to the next."""

    def __init__(self) -> None:
        self.constants: dict[tuple[str, torch.dtype, torch.device], torch.Tensor] = {}

    def call(self, target: Any, *args: Any) -> Any:
        return target(*args)

    def part(self, value: Any, index: int) -> Any:
        return value[index]

    def constant(self, name: str, make: Callable[[], torch.Tensor], like: torch.Tensor) -> torch.Tensor:
        key = (name, like.dtype, like.device)
        if key not in self.constants:
            self.constants[key] = make().to(like.device, like.dtype)
        return self.constants[key]

    def tensor(self, value: torch.Tensor) -> torch.Tensor:
        return value


class InGraph:
    """Writes nodes behind all others of a graph, before its output; `meta["val"]` of each tells its type."""

    def __init__(self, module: GraphModule) -> None:
        self.module = module
        self.end = module.graph.output_node()
        self.constants: dict[tuple[str, torch.dtype, torch.device], Node] = {}

    def call(self, target: Any, *args: Any) -> Node:
        with self.module.graph.inserting_before(self.end):
            made = self.module.graph.call_function(target, args)
        made.meta["val"] = target(*torch.fx.node.map_arg(args, lambda node: node.meta["val"]))
        return made

    def part(self, value: Node, index: int) -> Node:
        return self.call(operator.getitem, value, index)

    def constant(self, name: str, make: Callable[[], torch.Tensor], like: Node) -> Node:
        given = self.tensor(like)
        key = (name, given.dtype, given.device)
        if key not in self.constants:
            value = make().to(given.device, given.dtype)
            self.constants[key] = add_tensor(self.module, name, value, self.end, persistent=False)
            mode = given.fake_mode  # type: ignore[attr-defined]
            self.constants[key].meta["val"] = mode.from_tensor(value, static_shapes=True)
        return self.constants[key]

    def tensor(self, value: Node) -> torch.Tensor:
        found = value.meta["val"]
        assert isinstance(found, torch.Tensor)
        return found
