"""Sizes in a graph as plain numbers: those of given inputs, or of the example that the graph was captured with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import sympy
import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.observe import flat_inputs
from fxcompress.capturing.inputs import Inputs
from fxcompress.errors import FxcompressError, InputError
from fxcompress.graph.nodes import argument
from fxcompress.graph.types import type_text

# What stands for each symbol; one that is missing stands for its hint.
Binding = Mapping[sympy.Symbol, sympy.Integer]
AT_HINTS: Binding = MappingProxyType({})


class DataDependentSizeError(FxcompressError):
    """A size that only the data decides (such as that of `nonzero`), so that nothing can be said before the run."""


class Call:
    """A call of an op as a rule for its cost sees it: arguments by name, shapes as plain numbers.

    Shapes raise `DataDependentSizeError` where a size depends on the data.
    """

    def __init__(self, node: Node, binding: Binding = AT_HINTS) -> None:
        self.node = node
        self._binding = binding

    def argument(self, name: str) -> Any:
        """Return the argument `name` of the op's schema as it stands in the graph, nodes for tensors."""
        return argument(self.node, name)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of the tensor argument `name`."""
        return self._shape(self.argument(name))

    def shapes(self, name: str) -> list[tuple[int, ...]]:
        """Return the shapes of the argument `name`, a list of tensors."""
        return [self._shape(node) for node in self.argument(name)]

    def elements(self, name: str) -> int:
        """Return the number of elements of the tensor argument `name`."""
        return math.prod(self.shape(name))

    @property
    def result(self) -> tuple[int, ...]:
        """The shape of what the op gives, a single tensor."""
        return self._shape(self.node)

    @property
    def result_elements(self) -> int:
        """The number of elements of what the op gives, a single tensor."""
        return math.prod(self.result)

    def _shape(self, node: Node) -> tuple[int, ...]:
        return tuple(concrete(size, self._binding) for size in value_of(node).shape)


def value_of(node: Node) -> Any:
    """Return `meta["val"]` of `node`: what it gives, without data.

    Raises:
        FxcompressError: the node has no type.
    """
    if "val" not in node.meta:
        raise FxcompressError(f"node %{node} has no type", hint="call fxcompress.graph.shapes.propagate(module) first")
    return node.meta["val"]


def concrete(size: int | torch.SymInt, binding: Binding = AT_HINTS) -> int:
    """Return `size` with its symbols bound, its hint where they are not.

    Raises:
        DataDependentSizeError: there is no hint, for the size depends on the data.
    """
    if isinstance(size, int):
        return size
    bound = size.node.expr.xreplace(binding)
    if bound.is_number:
        return int(bound)
    if size.node.hint is None:
        raise DataDependentSizeError(f"the size {size} depends on the data")
    return int(size.node.hint)


def binding_of(module: GraphModule, inputs: Inputs) -> Binding:
    """Return what the symbols in the types of `module` stand for when it is called with `inputs`.

    Raises:
        InputError: the inputs do not fit the graph.
    """
    found: dict[sympy.Symbol, sympy.Integer] = {}
    placeholders = module.graph.find_nodes(op="placeholder")
    for node, given in zip(placeholders, flat_inputs(module, inputs), strict=True):
        if isinstance(given, torch.Tensor):
            _bind(node, given, found)
    return found


def _bind(node: Node, given: torch.Tensor, found: dict[sympy.Symbol, sympy.Integer]) -> None:
    """Bind the symbols that are sizes of the placeholder `node`; check the sizes that are fixed."""
    expected = value_of(node)
    for size, actual in zip(expected.shape, given.shape, strict=False):
        if isinstance(size, torch.SymInt) and size.node.expr.is_Symbol:
            found.setdefault(size.node.expr, sympy.Integer(actual))
    if [concrete(size, found) for size in expected.shape] != list(given.shape):
        raise InputError(f"input {node.target} of type {type_text(given)} does not fit {type_text(expected)}")
