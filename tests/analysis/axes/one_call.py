"""One call on stored tensors as a graph.

Nothing in such a graph is an input or a result, so only the rule of the call itself pins anything.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Interpreter, Node
from torch.fx.node import map_aggregate, map_arg

aten = torch.ops.aten
Reader = Callable[[Graph, Node], Node | None]


class T:
    """A tensor that the graph stores: its shape, and what it is filled with."""

    def __init__(self, *shape: int, fill: str = "normal", below: int = 0) -> None:
        self.shape, self.fill, self.below = shape, fill, below

    def made(self) -> torch.Tensor:
        """Return the tensor: float64, unless it holds truth values or whole numbers below `below`."""
        if self.below:
            return torch.randint(0, self.below, self.shape)
        if self.fill == "ends":
            return torch.tensor([3, 6])
        if self.fill == "true":
            return torch.ones(self.shape, dtype=torch.bool)
        if self.fill == "bool":
            return torch.rand(self.shape) < 0.5
        if self.fill in ("complex", "float32"):
            return torch.randn(self.shape, dtype=torch.complex128 if self.fill == "complex" else torch.float32)
        if self.fill == "positive":
            return torch.rand(self.shape, dtype=torch.float64) + 0.5
        if self.fill == "uniform":
            return torch.rand(self.shape, dtype=torch.float64)
        if self.fill == "small":
            return torch.rand(self.shape, dtype=torch.float64) * 1.8 - 0.9
        return torch.randn(self.shape, dtype=torch.float64)


@dataclass(frozen=True)
class Call:
    """One call.

    Attributes:
        target: the ATen overload, `sum.dim_IntList`.
        args: its arguments, with a `T` wherever it takes a tensor.
        free: what is expected of the axes of the tensors, and behind an arrow of the results: a letter each, f (free),
            p (pinned), m (free in part), 1 (of one position).
        random: whether the results are random or without meaning, so that only sizes are compared.
    """

    target: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    free: str = ""
    random: bool = False


def call(target: str, *args: Any, free: str, random: bool = False, **kwargs: Any) -> Call:
    """Return a `Call`; an overload that is not named is the default one."""
    return Call(target if "." in target else f"{target}.default", args, kwargs, free, random)


class Numbers:
    """Draws the sizes of a case: from hypothesis, or from a seed."""

    def __init__(self, draw: Callable[[int, int], int]) -> None:
        self._draw = draw

    @classmethod
    def seeded(cls, seed: int) -> Numbers:
        return cls(random.Random(seed).randint)

    def __call__(self, low: int = 2, high: int = 5) -> int:
        return self._draw(low, high)

    def several(self, count: int) -> list[int]:
        return [self() for _ in range(count)]

    def choice(self, options: Iterable[Any]) -> Any:
        some = list(options)
        return some[self._draw(0, len(some) - 1)]


@dataclass
class Built:
    """The graph of a call; `results` are its tensors, as a reader sees them."""

    module: GraphModule
    node: Node
    results: list[Node]

    def hold(self) -> None:
        """Make the results those of the graph, which keeps them from going as dead code; analyse it before."""
        next(iter(self.module.graph.find_nodes(op="output"))).args = (tuple(self.results),)

    def run(self) -> list[torch.Tensor]:
        """Run the graph; return the results."""
        interpreter = Interpreter(self.module, garbage_collect_values=False)
        with torch.no_grad():
            interpreter.run()
        return [interpreter.env[node].clone() for node in self.results]


def build(one: Call, reader: Reader | None = None) -> Built:
    """Return the graph of a call, whose results are read by `reader`, by default as they are."""
    root, graph = torch.nn.Module(), Graph()
    given: list[Node] = []

    def stored(value: Any) -> Any:
        if not isinstance(value, T):
            return value
        root.register_buffer(f"t{len(given)}", value.made())
        given.append(graph.get_attr(f"t{len(given)}"))
        given[-1].meta["val"] = getattr(root, f"t{len(given) - 1}")
        return given[-1]

    packet, overload = one.target.split(".")
    library, _, name = packet.rpartition("::")
    target = getattr(getattr(getattr(torch.ops, library or "aten"), name), overload)
    args, kwargs = map_aggregate(one.args, stored), map_aggregate(one.kwargs, stored)
    node = graph.call_function(target, args, kwargs)
    made = _typed(node)
    row = isinstance(made, list | tuple)
    outputs = [graph.call_function(operator.getitem, (node, place)) for place in range(len(made))] if row else [node]
    for output in outputs[: len(made) if row else 0]:
        _typed(output)
    results = [one for one in ((reader or _as_it_is)(graph, output) for output in outputs) if one is not None]
    for result in results:
        _typed(result)
    graph.output(())
    return Built(GraphModule(root, graph), node, results)


def _typed(node: Node) -> Any:
    """Run a call on the values of what it takes, and note its own as its type; return it."""
    args, kwargs = map_arg((node.args, node.kwargs), lambda one: one.meta["val"])
    node.meta["val"] = node.target(*args, **kwargs)  # type: ignore[operator]
    return node.meta["val"]


def _as_it_is(graph: Graph, node: Node) -> Node | None:
    return graph.call_function(aten.alias.default, (node,)) if isinstance(node.meta["val"], torch.Tensor) else None


def summed(dim: int) -> Reader:
    """Return a reader that adds up along `dim`: what is not zero in a removed slot shows."""

    def read(graph: Graph, node: Node) -> Node | None:
        value = node.meta["val"]
        if not isinstance(value, torch.Tensor) or value.dim() <= dim or value.dtype == torch.bool:
            return None
        return graph.call_function(aten.sum.dim_IntList, (node, [dim]))

    return read
