"""Variants that branch off a run give what they give when they run by themselves."""

from __future__ import annotations

import copy
import weakref

import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.analysis.branches import run_branches
from fxcompress.capturing import Inputs
from fxcompress.errors import InputError

aten = torch.ops.aten


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(4))

    def forward(self, x):
        first = torch.tanh(self.layers[0](x))
        x = first
        for layer in self.layers[1:]:
            x = torch.tanh(layer(x))
        return {"last": x, "sum": x + first}


class Counting(Net):
    """Writes into a buffer, and into what another value looks at."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(6))

    def forward(self, x):
        self.count.add_(1)
        return super().forward(x + self.count)


def doubled(module, number):
    """The graph with twice the result of its linear number `number`."""
    made = copy.deepcopy(module)
    node = [one for one in made.graph.nodes if one.target is aten.linear.default][number]
    with made.graph.inserting_after(node):
        twice = made.graph.call_function(aten.mul.Tensor, (node, 2.0))
    node.replace_all_uses_with(twice, delete_user_cb=lambda user: user is not twice)
    made.recompile()
    return made


@pytest.mark.parametrize("kind", [Net, Counting])
def test_each_gives_what_it_gives_alone(kind):
    torch.manual_seed(0)
    x = torch.randn(3, 6)
    module = fxc.capture(kind().eval(), (x,)).module
    variants = {str(number): doubled(module, number) for number in range(4)} | {"same": copy.deepcopy(module)}
    found = {}
    run_branches(module, Inputs(x), variants, lambda name, reference, value: found.update({name: (reference, value)}))
    assert found.keys() == variants.keys()
    for name, (reference, value) in found.items():
        want = copy.deepcopy(variants[name])(x)
        assert [torch.equal(*pair) for pair in zip(value, want.values(), strict=True)] == [True, True]
        want = copy.deepcopy(module)(x)
        assert [torch.equal(*pair) for pair in zip(reference, want.values(), strict=True)] == [True, True]
    if kind is Counting:
        assert not module.get_buffer("count").any(), "buffers are as they were"


def test_values_are_freed(monkeypatch):
    torch.manual_seed(0)
    x = torch.randn(3, 6)
    module = fxc.capture(Net().eval(), (x,)).module
    alive, most = [], []
    original = aten.tanh.default

    def watched(self, n):
        value = run_node(self, n)
        if n.target is original:
            alive.append(weakref.ref(value))
            most.append(sum(one() is not None for one in alive))
        return value

    from fxcompress.analysis.branches import _Trunk

    run_node = _Trunk.run_node
    monkeypatch.setattr(_Trunk, "run_node", watched)
    run_branches(module, Inputs(x), {"last": doubled(module, 3)}, lambda *_: None)
    # The first is read again at the end, and one more is under way.
    assert max(most) <= 2


def test_inputs_that_do_not_fit():
    module = fxc.capture(Net().eval(), (torch.randn(3, 6),)).module
    with pytest.raises(InputError, match="do not fit"):
        run_branches(module, Inputs(), {}, lambda *_: None)
