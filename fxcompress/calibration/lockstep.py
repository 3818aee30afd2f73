"""Running a graph on several batches node by node, so that it can be changed while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch.fx import GraphModule, Interpreter, Node

from fxcompress.distributed import Share


class Lockstep:
    """A graph that runs on all batches at once, one node at a time; a value is freed after its last reader.

    Args:
        share: for each of our batches the values of the placeholders, in their order.
        wanted: nodes whose values are kept until they are taken.
    """

    def __init__(self, module: GraphModule, share: Share[list[Any]], wanted: Iterable[Node] = ()) -> None:
        self.share = share
        self.done: set[Node] = set()
        self.waiting = iter([node for node in module.graph.nodes if node.op != "output"])
        self.wanted = set(wanted)
        self.runs = [_Run(module, values, self.wanted) for values in share]

    def until(self, node: Node) -> None:
        """Run what comes before `node`, and `node`; nothing where that has been."""
        while node not in self.done:
            self.step(next(self.waiting))

    def step(self, node: Node) -> None:
        """Run one node, all of whose inputs have been run."""
        self.done.add(node)
        for run in self.runs:
            run.step(node)

    def values(self, node: Node) -> Iterator[Any]:
        """Yield what `node` gave, batch by batch."""
        return (run.env[node] for run in self.runs)

    def take(self, node: Node) -> list[Any]:
        """Run until `node` and return what it gave, batch by batch; it is kept for its readers alone from then on."""
        self.until(node)
        self.wanted.discard(node)
        return [run.take(node) for run in self.runs]


class _Run(Interpreter):
    """One batch."""

    def __init__(self, module: GraphModule, values: Sequence[Any], wanted: set[Node]) -> None:
        super().__init__(module)
        self.wanted = wanted
        self.args_iter: Iterator[Any] = iter(values)
        self.left = {node: set(node.users) for node in wanted}

    def step(self, node: Node) -> None:
        self.env[node] = self.run_node(node)
        for given in node.all_input_nodes:
            if given in self.left:
                self.left[given].discard(node)
        for gone in self.user_to_last_uses.get(node, ()):
            if gone not in self.wanted:
                self.env.pop(gone, None)

    def take(self, node: Node) -> Any:
        waiting = any(user.op != "output" for user in self.left[node])
        return self.env[node] if waiting else self.env.pop(node)
