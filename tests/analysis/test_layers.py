"""Errors and times of layers against forward hooks on the original model."""

import copy
import time
import weakref

import pytest
import torch
from torch import nn
from torch.fx import symbolic_trace

from fxcompress.analysis.fidelity import sqnr_db
from fxcompress.analysis.layers import layer_errors, layer_seconds
from fxcompress.analysis.observe import flat_inputs, observe
from fxcompress.capturing import Inputs, capture
from fxcompress.errors import InputError
from fxcompress.graph.tensors import set_tensor


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.second = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.last = nn.Linear(8, 3)

    def forward(self, x, scale=1.0, *, shift=None):
        return {"scores": self.last(self.second(torch.tanh(self.first(x)))) * scale + shift}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    return Inputs(torch.randn(5, 4), shift=torch.randn(3))


def outputs_of_modules(model, inputs):
    found = {}
    for path, module in model.named_modules():
        module.register_forward_hook(lambda module, given, result, path=path: found.update({path: result}))
    with torch.no_grad():
        inputs.call(model)
    return found


def test_errors_are_those_between_the_modules(net, inputs):
    before = capture(net, inputs).module
    after = copy.deepcopy(before)
    set_tensor(after, "second.0.weight", before.get_parameter("second.0.weight").detach() * 1.01)
    changed = copy.deepcopy(net)
    with torch.no_grad():
        changed.second[0].weight.mul_(1.01)
    references, values = outputs_of_modules(net, inputs), outputs_of_modules(changed, inputs)
    found = layer_errors(before, after, inputs)
    assert list(found) == ["first", "second.0", "second.1", "last", ""]
    assert found["first"] == float("inf")
    for path in ("second.0", "second.1", "last", ""):
        assert found[path] == pytest.approx(sqnr_db(references[path], values[path]), abs=1e-3)
        assert 20 < found[path] < 80


def test_layers_of_another_shape_are_left_out(net, inputs):
    before = capture(net, inputs).module
    torch.manual_seed(2)
    net.first, net.second[0] = nn.Linear(4, 6), nn.Linear(6, 8)
    found = layer_errors(before, capture(net, inputs).module, inputs)
    assert "first" not in found
    assert {"second.0", "second.1", "last"} <= set(found)


class Normed(nn.Module):
    def __init__(self, folded, order):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.norm = nn.Identity() if folded else nn.BatchNorm2d(6)
        self.other = nn.Conv2d(6, 6, 1)
        self.order = order

    def forward(self, x):
        if self.order == "conv first":
            return self.other(torch.relu(self.norm(self.conv(x))))
        return self.other(self.norm(torch.relu(self.conv(x))))


@pytest.mark.parametrize("order", ["conv first", "norm first"])
def test_a_folded_layer_is_compared_with_what_it_was_folded_into(order):
    torch.manual_seed(0)
    model, folded = Normed(False, order).double().eval(), Normed(True, order).double().eval()
    with torch.no_grad():
        for tensor in (model.norm.running_mean, model.norm.weight, model.norm.bias):
            tensor.normal_()
        scale = model.norm.weight / (model.norm.running_var + model.norm.eps).sqrt()
        shift = model.norm.bias - model.norm.running_mean * scale
        folded.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("norm")})
        if order == "conv first":
            folded.conv.weight.mul_(scale[:, None, None, None])
            folded.conv.bias.mul_(scale).add_(shift)
        else:
            folded.other.bias.add_(folded.other.weight[:, :, 0, 0] @ shift)
            folded.other.weight.mul_(scale[None, :, None, None])
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    found = layer_errors(capture(model, (x,)).module, capture(folded, (x,)).module, Inputs(x))
    assert found["conv"] > 250
    assert found["other"] > 250


def test_batch_norm_in_training_keeps_its_statistics():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    x = torch.randn(8, 4)
    module = capture(model.eval(), (x,)).module.train()
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    layer_seconds(module, Inputs(x), runs=1)
    assert set(layer_errors(module, module, Inputs(x)).values()) == {float("inf")}
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())


def test_times_belong_to_the_layer_that_takes_them(net, inputs):
    @torch.library.custom_op("layers_test::wait", mutates_args=())
    def wait(x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.02)
        return x.clone()

    wait.register_fake(torch.empty_like)

    class Waits(nn.Module):
        def forward(self, x):
            return wait(x)

    net.second[1] = Waits()
    found = layer_seconds(capture(net, inputs).module, inputs, runs=3)
    assert set(found) == {"first", "second.0", "second.1", "last", ""}
    assert found["second.1"] >= 0.02
    assert all(0 < seconds < found["second.1"] for path, seconds in found.items() if path != "second.1")


def test_only_what_is_wanted_is_held(net, inputs):
    module = capture(net, inputs).module
    alive = []

    def watch(node, value, seconds):
        if node.op == "call_function":
            alive.append(weakref.ref(value))
            assert sum(reference() is not None for reference in alive) <= 2

    observe(module, inputs, watch)
    assert len(alive) >= 5


def test_inputs_are_laid_out_as_the_graph_takes_them(net, inputs):
    module = capture(net, inputs).module
    assert [value.shape for value in flat_inputs(module, inputs)] == [(5, 4), (3,)]
    plain = symbolic_trace(nn.Linear(4, 2))
    assert len(flat_inputs(plain, Inputs(torch.ones(1, 4)))) == 1
    for wrong in (Inputs(), Inputs(torch.ones(5, 4)), Inputs(torch.ones(5, 4), other=torch.ones(3))):
        with pytest.raises(InputError, match="do not fit the graph"):
            flat_inputs(module, wrong)
    with pytest.raises(InputError, match="do not fit the graph"):
        flat_inputs(plain, Inputs())
