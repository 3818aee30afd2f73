"""eliminate-dead-nodes removes what no result depends on, and nothing else."""

from __future__ import annotations

import torch
from nets import Draft, apply, operations
from torch import nn

import fxcompress as fxc

aten = torch.ops.aten


def test_dead_calls_and_what_only_they_read():
    draft = Draft()
    rows = torch.randn(2, 3)
    x = draft.input("x", rows)
    dead = draft.call(aten.linear.default, x, draft.tensor("dead.weight", torch.randn(3, 3)))
    draft.call(aten.dropout.default, dead, 0.5, False)
    module = draft.module(draft.call(aten.linear.default, x, draft.tensor("fc.weight", torch.randn(3, 3))))
    before = module(rows)
    module, context = apply("eliminate-dead-nodes", module)
    assert torch.equal(module(rows), before)
    assert operations(module) == ["linear"]
    assert context.statistics == {"nodes": 2, "tensors": 1}
    assert context.details == {"nodes": ["linear", "dropout"], "tensors": ["dead.weight"]}
    assert not hasattr(module, "dead")


def test_calls_that_write_and_inputs_stay():
    draft = Draft()
    rows = torch.randn(2, 3)
    x = draft.input("x", rows)
    draft.input("unused", rows)
    counter = draft.tensor("counter", torch.zeros(1), buffer=True)
    draft.call(aten.add_.Tensor, counter, 1.0)
    module, context = apply("eliminate-dead-nodes", draft.module(draft.call(aten.relu.default, x)))
    assert context.statistics == {"nodes": 0, "tensors": 0}
    module(rows, rows)
    assert float(module.counter) == 1
    assert [node.target for node in module.graph.find_nodes(op="placeholder")] == ["x", "unused"]


def test_one_name_that_is_read_keeps_all_names_of_a_tied_tensor():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.unread = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.a(x)

    result = fxc.compress(Tied().eval(), (torch.randn(2, 3),), "eliminate-dead-nodes")
    assert set(result.module.state_dict()) == {"a.weight", "a.bias", "b.weight"}
    assert result.stages[0].details["tensors"] == ["b.bias", "unread.weight", "unread.bias"]


def test_tensors_of_a_called_subgraph_stay():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(3, 3)

        def forward(self, x):
            return torch.cond(x.sum() > 0, lambda y: self.a(y), lambda y: y * 2, (x,))

    model = Branches().eval()
    rows = torch.randn(2, 3)
    result = fxc.compress(model, (rows,), "eliminate-dead-nodes,eliminate-dead-nodes")
    for x in (rows.abs(), -rows.abs()):
        assert torch.equal(result.module(x), model(x))
    assert not result.stages[1].changed
