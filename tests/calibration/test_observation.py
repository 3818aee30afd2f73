"""Observers as nodes: they see what a plain interpreter sees, and the graph is afterwards, to a name, as before."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from observing import (
    MODULES,
    assert_same,
    batches_for,
    captured,
    everything,
    floating,
    residual,
    rows,
    several,
    traced,
    witnessed,
)
from torch import nn
from torch.fx import GraphModule

import fxcompress as fxc
from fxcompress.calibration import MinMax, calibrate, observed, saying
from fxcompress.errors import InputError, UsageError


class Recorder:
    """Keeps every value."""

    def __init__(self):
        self.values = []

    def update(self, tensor):
        self.values.append(tensor.clone())

    def merge(self, other):
        self.values += other.values


class Refuser(Recorder):
    """Refuses the second value."""

    def update(self, tensor):
        super().update(tensor)
        if len(self.values) == 2:
            raise InputError("no more of that", hint="stop")


@pytest.mark.parametrize("make", MODULES)
def test_all_values_are_those_of_an_interpreter_and_nothing_stays(make):
    torch.manual_seed(0)
    module = make()
    batches, nodes = batches_for(module), floating(module)
    want, before = witnessed(module, batches), everything(module)
    found = calibrate(module, [*nodes, nodes[0]], batches, lambda _: Recorder())
    assert_same(before, everything(module))
    assert list(found) == nodes
    for node, recorder in found.items():
        assert len(recorder.values) == len(batches)
        for seen, value in zip(recorder.values, want[node.name], strict=True):
            torch.testing.assert_close(seen, value, rtol=0, atol=0)


@pytest.mark.parametrize("make", MODULES)
@pytest.mark.parametrize("bad", ["observer", "NaN", "call", "interrupt"])
def test_nothing_stays_when_a_batch_fails(make, bad, capsys):
    torch.manual_seed(0)
    module = make()
    batches, nodes = batches_for(module), floating(module)
    before = everything(module)
    made, kind, why = Recorder, InputError, "^calibration batch 1: .*hold NaN"
    if bad == "NaN":
        batches[1] = batches[1].map_tensors(lambda one: one.clone().fill_(float("nan")))
    elif bad == "call":
        batches[1] = fxc.Inputs(torch.randn(5, 7), **batches[1].kwargs)
        kind, why = (InputError, RuntimeError), None
    elif bad == "interrupt":
        made, kind, why = Interrupting, KeyboardInterrupt, None
    else:
        made, why = Refuser, rf"^calibration batch 1: %{nodes[0].name}: no more of that"
    with pytest.raises(kind, match=why):
        calibrate(module, nodes, batches, lambda _: made())
    assert_same(before, everything(module))
    if bad == "observer":
        assert capsys.readouterr().err == ""


class Interrupting(Recorder):
    def update(self, tensor):
        raise KeyboardInterrupt


def test_the_graph_with_its_observers_reads_and_runs_like_the_graph():
    torch.manual_seed(0)
    module = residual()
    relu = next(node for node in module.graph.nodes if node.name == "relu")
    observer = MinMax()
    running = observed(module, {relu: observer})
    running.graph.lint()
    (call,) = running.graph.find_nodes(op="call_module")
    assert (call.name, call.target, [given.name for given in call.args]) == (
        "observers_relu",
        "observers.relu",
        ["relu"],
    )
    assert [user.name for user in call.users] == [user.name for user in relu.users]
    assert "observers_relu = self.observers.relu(relu)" in running.code
    assert "%relu: MinMax" in str(running)
    assert call.meta["val"] is relu.meta["val"]
    (x,) = rows(5)
    with torch.no_grad():
        assert torch.equal(running(x), module(x))
        seen = torch.relu(nn.functional.linear(x, module.layer.weight, module.layer.bias))
    assert (observer.batches, float(observer.most)) == (1, float(seen.max()))
    running.graph.eliminate_dead_code()
    assert running.graph.find_nodes(op="call_module") == [call]


@pytest.mark.parametrize("make", MODULES)
def test_results_and_tensors_are_those_of_the_module(make):
    torch.manual_seed(0)
    module = make().eval()
    running = observed(module, {node: Recorder() for node in floating(module)})
    ours = {name: id(one) for name, one in [*module.named_parameters(), *module.named_buffers()]}
    assert {name: id(one) for name, one in [*running.named_parameters(), *running.named_buffers()]} == ours
    state = {name: one.clone() for name, one in module.state_dict().items()}
    for batch in batches_for(module):
        with torch.no_grad():
            found = batch.call(running)
            module.load_state_dict(state)
            want = batch.call(module)
            module.load_state_dict(state)
        torch.testing.assert_close(found, want, rtol=0, atol=0)


def test_observers_over_observers_have_names_of_their_own():
    module = several()
    node = next(node for node in module.graph.nodes if node.op == "call_function")
    inner, outer = MinMax(), MinMax()
    once = observed(module, {node: inner})
    (call,) = once.graph.find_nodes(op="call_module")
    again = next(one for one in once.graph.nodes if one.name == node.name)
    twice = observed(once, {again: outer, call: MinMax()})
    twice.graph.lint()
    batches_for(module)[0].call(twice)
    assert inner.batches == outer.batches == 1
    assert float(inner.most) == float(outer.most)
    # The layer of the model that is called `observers` holds none of them.
    assert [name for name, _ in module.named_modules() if "observers" in name] == ["observers"]


def test_inputs_and_weights_can_be_observed():
    module = residual()
    nodes = [next(node for node in module.graph.nodes if node.target == name) for name in ("x", "layer.weight")]
    batches = rows(1, 2)
    found = calibrate(module, nodes, [fxc.Inputs(x) for x in batches], lambda _: MinMax())
    assert float(found[nodes[0]].most) == float(torch.cat(batches).max())
    assert float(found[nodes[1]].least) == float(module.layer.weight.detach().min())


def test_nodes_of_other_graphs_are_refused():
    module, other = residual(), residual()
    for node in (other.graph.output_node().prev, module.graph.output_node()):
        with pytest.raises(UsageError, match=f"%{node.name} is no value of this graph"):
            calibrate(module, [node], [], lambda _: MinMax())


def test_values_are_freed_as_the_graph_goes_on():
    module = captured(nn.Sequential(*[nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(8)]).eval(), rows(0)[0])
    alive, most = weakref.WeakSet(), []

    class Counts(Recorder):
        def update(self, tensor):
            alive.add(tensor)
            gc.collect()
            most.append(len(alive))

    nodes = [node for node in module.graph.nodes if node.op == "call_function"]
    calibrate(module, nodes, [fxc.Inputs(rows(1)[0])], lambda _: Counts())
    assert len(most) == 16
    assert max(most) <= 2


def test_progress_is_told_now_and_then(monkeypatch):
    module = residual()
    node = module.graph.output_node().prev
    said = []
    calibrate(module, [node], [fxc.Inputs(x) for x in rows(1, 2, 3)], lambda _: MinMax(), said.append)
    assert said == []
    monkeypatch.setattr(saying, "PAUSE", 0.0)
    calibrate(module, [node], (fxc.Inputs(x) for x in rows(1, 2, 3)), lambda _: MinMax(), said.append)
    assert [line.strip() for line in said] == [f"calibration, batches: {done}" for done in range(3)]


def test_a_module_of_another_tracer_may_be_observed():
    module = traced()
    assert type(observed(module, {})).__mro__[1] is GraphModule
