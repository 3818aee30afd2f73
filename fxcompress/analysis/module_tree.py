"""The tree of module paths over the calls of a graph, with the residual branches in each module."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from torch.fx import GraphModule, Node

from fxcompress.analysis.blocks import Block, paths
from fxcompress.analysis.flow import Flow, computed_within, reads_size, same_type, why_not
from fxcompress.graph.tensors import tensor_of


class Modules:
    """The tree of module paths over the calls of a graph, and what each module makes of its input."""

    def __init__(self, module: GraphModule, branches: Sequence[Block]) -> None:
        self.flow = Flow(module)
        self.branches = branches
        self.stacks = stacks(module)
        self.kinds = {path: kind for stack in self.stacks.values() for path, kind in stack}
        self.calls: dict[str, list[Node]] = defaultdict(list)
        for node, stack in self.stacks.items():
            for path, _ in stack:
                self.calls[path].append(node)
        self.parts: dict[str, list[Block]] = defaultdict(list)
        for branch in branches:
            for path in prefixes(self.around(branch)):
                self.parts[path].append(branch)

    def path(self, node: Node) -> str:
        """Return the path of the module that `node` was called in, `""` for the root."""
        stack = self.stacks.get(node, ())
        return stack[-1][0] if stack else ""

    def kind(self, path: str) -> Any:
        """Return the class of the module at `path`; of a path that is no module, such as in a list, the path."""
        return self.kinds.get(path, path)

    def common(self, nodes: Iterable[Node]) -> str:
        """Return the longest path that the paths of all `nodes` start with."""
        found: list[str] | None = None
        for node in nodes:
            words = self.path(node).split(".")
            if found is None:
                found = words
            same = [left == right for left, right in zip(found, words, strict=False)]
            found = found[: same.index(False) if False in same else len(same)]
        return ".".join(found or [])

    def around(self, block: Block) -> str:
        """Return the path of the smallest module that holds all of `block` and the sum at its end."""
        return self.common([*block.nodes, block.exit])

    def inner(self, branch: Block) -> str:
        """Return the path of what `branch` calculates with inside of the module around it."""
        calls = self.common(branch.nodes)
        return calls if depth(calls) > depth(self.around(branch)) else self.main(branch)

    def main(self, branch: Block) -> str:
        """Return the path of what `branch` calculates with: of the modules in it the one with the most parameters."""
        around = self.common(branch.nodes)
        sizes: Counter[str] = Counter()
        for node in branch.nodes:
            inner = [path for path, _ in self.stacks[node] if len(path) > len(around)]
            if inner:
                sizes[inner[0]] += sum(self.size(source) for source in self.flow.tensors([node]))
        return max(sizes, key=sizes.__getitem__, default=around)

    def size(self, source: Node) -> int:
        tensor = tensor_of(self.flow.module, source)
        return 0 if tensor is None else tensor.numel()

    def named(self, branch: Block) -> Block:
        """Return `branch` under the path of the module that it is all of, else of what it calculates with."""
        around = self.around(branch)
        alone = len(self.parts[around]) == 1 and self.whole(around) is not None
        return dataclasses.replace(branch, scope=around if alone else self.inner(branch) or branch.scope)

    def whole(self, path: str) -> Block | None:
        """Return everything from the input to the result of the module at `path` as a block, None where it is none.

        Between its branches the module only normalises and activates, and it gives the type of its input.
        """
        inside = self.parts.get(path, [])
        members = set(self.calls.get(path, ()))
        if not inside or not members or inside[0].entry in members:
            return None
        entry = inside[0].entry
        nodes = computed_within(entry, self.calls[path])
        ends = [node for node in nodes if any(user not in members and not reads_size(user) for user in node.users)]
        return self.stretch(path, inside, entry, ends[0]) if len(ends) == 1 else None

    def stretch(self, path: str, inside: Sequence[Block], entry: Node, end: Node) -> Block | None:
        """Return all that lies between `entry` and `end` as the block `path`, None where it cannot go as one."""
        nodes = self.flow.region(entry, end)
        held = set(nodes)
        if not same_type(entry, end) or not all(held.issuperset(branch.nodes) for branch in inside):
            return None
        if not self.passes_by(entry, end, held.difference(*(branch.nodes for branch in inside))):
            return None
        if why_not(entry, nodes, set(end.users), end):
            return None
        lasts = tuple(last for branch in inside for last in branch.lasts)
        return Block(path, "block", entry, end, tuple(nodes), paths(self.flow, nodes), lasts)

    def passes_by(self, entry: Node, end: Node, between: set[Node]) -> bool:
        """Whether there is a way from `entry` to `end` through `between` on which no matrix is calculated with."""
        way = [node for node in between if not any(self.dims(source) > 1 for source in self.flow.tensors([node]))]
        return end in computed_within(entry, sorted(way, key=self.flow.place.__getitem__))

    def dims(self, source: Node) -> int:
        tensor = tensor_of(self.flow.module, source)
        return 0 if tensor is None else tensor.dim()


def stacks(module: GraphModule) -> dict[Node, tuple[tuple[str, str], ...]]:
    """Return for every call the modules that it was made in, as path and class, from the outside in, without the root.

    A call that a pass put in belongs with what it reads.
    """
    found: dict[Node, tuple[tuple[str, str], ...]] = {}
    for node in module.graph.nodes:
        if node.op != "call_function":
            continue
        stack = node.meta.get("nn_module_stack")
        if stack is None:
            found[node] = next((found[given] for given in node.all_input_nodes if given in found), ())
        else:
            rows = ((str(path), str(kind)) for path, kind in stack.values())
            found[node] = tuple((path, kind) for path, kind in rows if path and not path.startswith("_"))
    return found


def prefixes(path: str) -> list[str]:
    """Return `a`, `a.b`, `a.b.c` for `a.b.c`, the longest first; nothing for the root."""
    words = path.split(".") if path else []
    return [".".join(words[:count]) for count in range(len(words), 0, -1)]


def depth(path: str) -> int:
    """Return the number of words of a module path, 0 for the root."""
    return len(path.split(".")) if path else 0
