"""Facts are computed once for a structure, and anew when it has changed."""

import torch
from torch import nn

from fxcompress.analysis.cost import cost
from fxcompress.analysis.facts import Facts
from fxcompress.capturing import capture
from fxcompress.graph.tensors import set_tensor


class Counted:
    def __init__(self):
        self.calls = 0

    def __call__(self, module):
        self.calls += 1
        return len(module.graph.nodes)


def facts_of(model=None):
    return Facts(capture(model or nn.Sequential(nn.Linear(4, 3), nn.ReLU()), (torch.randn(2, 4),)).module)


def test_an_analysis_runs_when_asked_for_and_once():
    facts, analysis, other = facts_of(), Counted(), Counted()
    assert analysis.calls == 0
    assert facts.get(analysis) == facts.get(analysis) == len(facts.module.graph.nodes)
    facts.get(other)
    assert (analysis.calls, other.calls) == (1, 1)


def test_facts_are_dropped_when_the_graph_changes():
    facts, analysis = facts_of(), Counted()
    facts.get(analysis)
    facts.module.graph.find_nodes(op="placeholder")[0].meta["note"] = "no change"
    facts.get(analysis)
    assert analysis.calls == 1
    (relu,) = facts.module.graph.find_nodes(op="call_function", target=torch.ops.aten.relu.default)
    relu.target = torch.ops.aten.sigmoid.default
    facts.get(analysis)
    assert analysis.calls == 2
    relu.replace_all_uses_with(relu.args[0])
    facts.module.graph.erase_node(relu)
    assert facts.get(analysis) == len(facts.module.graph.nodes)
    assert analysis.calls == 3


def test_facts_are_dropped_when_a_tensor_is_replaced():
    facts = facts_of()
    assert facts.get(cost).bytes == 4 * 15
    set_tensor(facts.module, "0.weight", facts.module.get_parameter("0.weight").detach().half())
    assert facts.get(cost).bytes == 4 * 3 + 2 * 12


def test_facts_are_dropped_by_hand():
    facts, analysis = facts_of(), Counted()
    facts.get(analysis)
    facts.drop()
    facts.get(analysis)
    assert analysis.calls == 2


def test_the_mode_is_part_of_the_structure():
    facts, analysis = facts_of(nn.Sequential(nn.Linear(4, 3), nn.Dropout())), Counted()
    facts.get(analysis)
    facts.module.train()
    facts.get(analysis)
    assert analysis.calls == 2
