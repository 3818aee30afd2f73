"""Graphs to be observed, and all that they are and give, without any of our observers."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch import nn
from torch.fx import Interpreter, symbolic_trace

import fxcompress as fxc


class Residual(nn.Module):
    """One value has three readers, and one layer is called twice."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(6, 6), nn.BatchNorm1d(6)

    def forward(self, x):
        x = torch.relu(self.layer(x))
        return self.norm(self.layer(x) + x) * x


class Several(nn.Module):
    """Calls that give tuples, results in a nest, keyword inputs, and a submodule that is named as ours would be."""

    def __init__(self):
        super().__init__()
        self.observers = nn.Linear(6, 6)

    def forward(self, x, scale=None):
        first, second = self.observers(x).split(3, 1)
        most = first.max(1)
        return {"sum": first + second, "most": (most.values, [most.indices]), "scaled": x * scale}


class Counting(nn.Module):
    """Counts its calls in a buffer that its results depend on, and writes into a value of its own."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls.add_(1)
        y = x * self.calls
        y[:, :2] += 3.0
        return torch.sigmoid(y)


class Branching(nn.Module):
    """Which of two branches runs depends on a value."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda x: self.layer(x) + 1, lambda x: x - self.layer(x), (x,)).tanh()


def captured(model, *args, **kwargs):
    return fxc.capture(model, fxc.Inputs(*args, **kwargs)).module


def rows(*seeds):
    return [torch.randn(4 + seed, 6, generator=torch.Generator().manual_seed(seed)) for seed in seeds]


def residual():
    return captured(Residual().eval(), rows(0)[0])


def in_training():
    return captured(Residual(), rows(0)[0]).train()


def several():
    return captured(Several().eval(), rows(0)[0], scale=torch.rand(6))


def counting():
    return captured(Counting().eval(), rows(0)[0])


def branching():
    return captured(Branching().eval(), rows(0)[0])


def traced():
    return symbolic_trace(Residual().eval())


def once(make):
    """Capture but once, and hand out copies."""
    kept = functools.cache(make)
    return pytest.param(lambda: copy.deepcopy(kept()), id=make.__name__)


MODULES = [once(make) for make in (residual, in_training, several, counting, branching, traced)]


def batches_for(module):
    with_scale = any(node.target == "scale" for node in module.graph.find_nodes(op="placeholder"))
    further = {"scale": torch.full((6,), 2.0)} if with_scale else {}
    return [fxc.Inputs(x, **further) for x in rows(1, 2, 3)]


def floating(module):
    """The nodes that give one floating tensor on a batch, all of them."""
    found = []

    class Trying(Interpreter):
        def run_node(self, n):
            value = super().run_node(n)
            if n.op != "output" and isinstance(value, torch.Tensor) and value.is_floating_point():
                found.append(n)
            return value

    trial = copy.deepcopy(module)
    Trying(trial).run(*flat(module, batches_for(module)[0]), enable_io_processing=False)
    names = {node.name for node in found}
    return [node for node in module.graph.nodes if node.name in names]


def flat(module, batch):
    given = iter(batch.args)
    return [
        batch.kwargs[node.target] if node.target in batch.kwargs else next(given)
        for node in module.graph.find_nodes(op="placeholder")
    ]


def witnessed(module, batches):
    """What every node gives, batch by batch: a plain interpreter on a copy for each batch."""
    seen = {}

    class Watching(Interpreter):
        def run_node(self, n):
            value = super().run_node(n)
            if isinstance(value, torch.Tensor):
                seen.setdefault(n.name, []).append(value.clone())
            return value

    for batch in batches:
        with torch.no_grad():
            Watching(copy.deepcopy(module)).run(*flat(module, batch), enable_io_processing=False)
    return seen


def everything(module):
    """All that a module is, by identity where that can be."""
    nodes = [
        (id(node), node.op, node.name, node.target, str(node.args), str(node.kwargs), list(node.users), dict(node.meta))
        for node in module.graph.nodes
    ]
    held = [(name, id(part)) for name, part in module.named_modules()]
    tensors = [(name, id(one), one.clone()) for name, one in [*module.named_parameters(), *module.named_buffers()]]
    return nodes, module.code, held, tensors, module.training, sorted(module.graph._graph_namespace._used_names)


def assert_same(one, other):
    assert [row[:-1] for row in one[0]] == [row[:-1] for row in other[0]]
    for before, after in zip(one[0], other[0], strict=True):
        assert before[-1].keys() == after[-1].keys()
        assert all(before[-1][key] is after[-1][key] for key in before[-1])
    assert one[1:3] == other[1:3]
    assert one[4:] == other[4:]
    assert [row[:2] for row in one[3]] == [row[:2] for row in other[3]]
    assert all(torch.equal(before[2], after[2]) for before, after in zip(one[3], other[3], strict=True))
