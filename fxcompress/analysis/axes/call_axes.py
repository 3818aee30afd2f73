"""The axes around one call: of what it takes, by the names of its arguments, and of what it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.fx import Node

from fxcompress.analysis.axes.axis import Value
from fxcompress.graph.nodes import argument, argument_names


class CallAxes:
    """The axes around one call.

    Attributes:
        node: the call.
        outputs: the values that it gives, None where an output is no tensor.
    """

    def __init__(self, node: Node, values: Callable[[Any], Value | None], outputs: Sequence[Value | None]) -> None:
        self.node = node
        self.outputs = outputs
        self._values = values

    @property
    def output(self) -> Value:
        """The first output."""
        found = self.outputs[0]
        assert found is not None
        return found

    def argument(self, name: str) -> Any:
        """Return an argument by the name in the operator's schema, its default where it was left out."""
        return argument(self.node, name)

    def input(self, name: str) -> Value | None:
        """Return the tensor given for the argument `name`, None where there is none."""
        given = self.argument(name)
        return self._values(given) if isinstance(given, Node) else None

    def given(self, name: str) -> Value:
        """Return the tensor given for the argument `name`, which the operator demands."""
        found = self.input(name)
        assert found is not None, f"{self.node.target} without {name}"
        return found

    def inputs(self, name: str) -> list[Value | None]:
        """Return the tensors of a list of tensors."""
        return [self._values(one) if isinstance(one, Node) else None for one in self.argument(name)]

    def tensors(self) -> list[Value]:
        """Return every tensor that the call takes, once."""
        found = (self._values(one) for one in self.node.all_input_nodes)
        return [one for one in found if one is not None]

    def named(self, *names: str) -> list[Value]:
        """Return the tensors given for the arguments `names`, those that the operator has, and those in lists."""
        known = argument_names(self.node)
        given = [self.argument(name) for name in names if name in known]
        row = [one for value in given for one in (value if isinstance(value, list | tuple) else [value])]
        found = (self._values(one) for one in row if isinstance(one, Node))
        return [one for one in found if one is not None]
