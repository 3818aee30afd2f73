"""What is packed lives as long as the weights, follows what is written into them, and is in no state."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest
import torch
from kernel_cases import close, layer, operands

from fxcompress.errors import UsageError
from fxcompress.kernels import backends
from fxcompress.kernels.packing import packed

ops = torch.ops.fxcompress


def off(call, one, values, backend):
    return not close(call(values, *operands([one]), backend), one(values), values, [one], 0.01)


@pytest.mark.parametrize("backend", ["onednn", "fbgemm", "int_mm", "float"])
@pytest.mark.parametrize("call", [ops.linear_dynamic, ops.linear_weight_only])
@pytest.mark.parametrize("written", ["weight", "scales", "bias"])
def test_what_is_written_into_is_packed_anew(backend, call, written):
    one, values = layer(7, 12), torch.randn(1, 12)
    assert not off(call, one, values, backend)
    target = getattr(one, written)
    target.copy_(layer(7, 12).__getattribute__(written) + 1)
    assert not off(call, one, values, backend)
    target.data = target.clone() + 1
    assert not off(call, one, values, backend)
    setattr(one, written, target.clone() + 1)
    assert not off(call, one, values, backend)


def test_copies_do_not_share():
    one, values = layer(7, 12), torch.randn(2, 12)
    other = copy.deepcopy(one)
    again = pickle.loads(pickle.dumps(one))
    other.weight.neg_()
    for each in (one, other, again):
        assert not off(ops.linear_dynamic, each, values, "onednn")


def test_it_goes_with_the_weights():
    weight, gone = torch.zeros(3), []
    made = packed("test", (weight,), lambda: set())
    assert packed("test", (weight,), lambda: set()) is made
    gone.append(weakref.ref(made))
    del made, weight
    gc.collect()
    assert gone[0]() is None


def test_tensors_of_inference_mode():
    with torch.inference_mode():
        one, values = layer(7, 12), torch.randn(2, 12)
        assert not off(ops.linear_dynamic, one, values, "onednn")


@pytest.fixture(autouse=True)
def asked_anew():
    backends.read_again()
    yield
    backends.read_again()


@pytest.mark.parametrize("name", ["onednn", "fbgemm", "int_mm"])
def test_a_backend_that_is_switched_off_is_not_called(monkeypatch, name):
    monkeypatch.setenv(backends.VARIABLE, name)
    assert not backends.available(name)
    assert backends.first_available(name, (name,)) == "float"
    calls = {"onednn": torch.ops.onednn, "fbgemm": torch.ops.quantized, "int_mm": torch}
    target = {"onednn": "qlinear_pointwise", "fbgemm": "linear_dynamic", "int_mm": "_int_mm"}[name]
    monkeypatch.setattr(calls[name], target, None)
    one, values = layer(7, 12), torch.randn(1, 12)
    assert not off(ops.linear_dynamic, one, values, name)
    assert not off(ops.linear_weight_only, one, values, name)


def test_what_torch_has_not_is_not_there(monkeypatch):
    monkeypatch.setitem(backends._OPERATORS, "onednn", ("onednn.no_such_operator",))
    assert not backends.available("onednn")
    assert backends.available("float")


@pytest.mark.parametrize("text", ["onedn", "float", "onednn,float"])
def test_names_that_cannot_be_switched_off(monkeypatch, text):
    monkeypatch.setenv(backends.VARIABLE, text)
    with pytest.raises(UsageError):
        backends.available("onednn")
