"""Graphs written down by hand for the tests of snapshots and diffs."""

from __future__ import annotations

import torch
from torch.fx import Graph, GraphModule, Interpreter

aten = torch.ops.aten


class Draft:
    """A graph in the making. Result types come from a run on the inputs that it was given."""

    def __init__(self):
        self.root = torch.nn.Module()
        self.graph = Graph()
        self.values = []

    def input(self, name, *shape):
        self.values.append(torch.ones(shape))
        return self.graph.placeholder(name)

    def tensor(self, path, value):
        owner = self.root
        *words, last = path.split(".")
        for word in words:
            if not hasattr(owner, word):
                owner.add_module(word, torch.nn.Module())
            owner = getattr(owner, word)
        if not hasattr(owner, last):
            owner.register_parameter(last, torch.nn.Parameter(value, requires_grad=False))
        return self.graph.get_attr(path)

    def call(self, target, *args, scope=None, name=None, origin=(), **kwargs):
        node = self.graph.create_node("call_function", target, args, kwargs, name=name)
        if scope is not None:
            node.meta["nn_module_stack"] = {path: (path, "torch.nn.Module") for path in ("", scope)}
        if origin:
            node.meta["origin"] = origin
        return node

    def module(self, *results):
        self.graph.output(results)
        made = GraphModule(self.root, self.graph)
        Recorder(made).run(*self.values)
        return made


class Recorder(Interpreter):
    """Leaves the results of a run as the types of the nodes."""

    def run_node(self, n):
        result = super().run_node(n)
        n.meta["val"] = result
        return result


def counts(diff):
    """Numbers of nodes removed, added and changed."""
    return diff.removed, diff.added, diff.changed


class Block(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = torch.nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn = torch.nn.BatchNorm2d(width)

    def forward(self, x):
        return torch.relu(x + self.bn(self.conv(x)))


class Net(torch.nn.Module):
    def __init__(self, width=4, depth=2):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, width, 3, stride=2)
        self.blocks = torch.nn.Sequential(*(Block(width) for _ in range(depth)))
        self.head = torch.nn.Linear(width, 5)

    def forward(self, image):
        features = self.blocks(self.stem(image)).mean((2, 3))
        return {"logits": self.head(features), "features": features}


class Clamped(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, image):
        found = self.inner(image)
        return {"logits": found["logits"].clamp(-3, 3), "features": found["features"]}
