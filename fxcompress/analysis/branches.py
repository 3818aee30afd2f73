"""Runs a graph once and, from where variants of it begin to differ, each variant to its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.fx import GraphModule, Interpreter, Node

from fxcompress.analysis.observe import buffers_restored, flat_inputs, may_write
from fxcompress.capturing.inputs import Inputs

# Is told of a variant by its name: what the graph itself gives, and what the variant does.
Compare = Callable[[str, Any, Any], None]


def run_branches(module: GraphModule, inputs: Inputs, variants: Mapping[str, GraphModule], compare: Compare) -> None:
    """Run `module` on `inputs`, without gradients, and tell `compare` what each of `variants` gives for the same.

    A variant is the graph of `module` with calls put in or replaced; the nodes up to the first that has another name
    are taken to give the same in both, and are not run again. Nothing but the values that are alive there is held.

    Raises:
        InputError: the inputs do not fit the graph.
    """
    values = flat_inputs(module, inputs)
    with torch.no_grad(), buffers_restored(module):
        reference = Interpreter(module).run(*values, enable_io_processing=False)
        if any(may_write(node) for node in module.graph.nodes):
            # What is written to may be shared between branches: each runs by itself.
            for name, variant in variants.items():
                with buffers_restored(variant):
                    compare(name, reference, Interpreter(variant).run(*values, enable_io_processing=False))
        elif variants:
            _Trunk(module, variants, lambda name, found: compare(name, reference, found)).follow(values)


class _Trunk(Interpreter):
    """The graph itself, from which the variants branch off."""

    def __init__(
        self, module: GraphModule, variants: Mapping[str, GraphModule], tell: Callable[[str, Any], None]
    ) -> None:
        super().__init__(module)
        self.tell = tell
        self.nodes = list(module.graph.nodes)
        self.starting: dict[Node, list[tuple[str, GraphModule, int]]] = {}
        for name, variant in variants.items():
            shared = _shared(self.nodes, list(variant.graph.nodes))
            self.starting.setdefault(self.nodes[shared], []).append((name, variant, shared))
        self.last = max(self.starting)

    def follow(self, values: list[Any]) -> None:
        """Run as far as there are variants to branch off."""
        arguments = iter(values)
        for node in self.nodes:
            for name, variant, shared in self.starting.get(node, ()):
                self.tell(name, self._branch(variant, shared))
            if node is self.last:
                return
            self.env[node] = next(arguments) if node.op == "placeholder" else self.run_node(node)
            for gone in self.user_to_last_uses.get(node, []):
                del self.env[gone]

    def _branch(self, variant: GraphModule, shared: int) -> Any:
        """Return what `variant` gives, run from its node number `shared` on."""
        pairs = zip(list(variant.graph.nodes)[:shared], self.nodes[:shared], strict=True)
        # A value that is gone is not read any more.
        environment = {theirs: self.env.get(mine) for theirs, mine in pairs}
        return Interpreter(variant).run(initial_env=environment, enable_io_processing=False)


def _shared(nodes: list[Node], others: list[Node]) -> int:
    """Return how many nodes at the beginning have the same names; the last node of `nodes` is not counted."""
    count = 0
    while count < len(nodes) - 1 and nodes[count].name == others[count].name:
        count += 1
    return count
