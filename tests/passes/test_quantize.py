"""quantize{scheme=w8a16}: errors within half a step, scales as numpy has them, and graphs that hold and train."""

from __future__ import annotations

import copy
import operator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import EVERY_WEIGHT, IDS, Draft, EveryWeight, apply, operations
from torch import nn

import fxcompress as fxc
from fxcompress.errors import PassFailed, StepFailed

aten = torch.ops.aten


def linear(weight):
    draft = Draft()
    x = draft.input("x", torch.eye(weight.shape[1], dtype=weight.dtype))
    return draft.module(draft.call(aten.linear.default, x, draft.tensor("fc.weight", weight)))


def dequantized(module, path):
    """What the graph computes of the integers under `path`."""
    scale = module.get_buffer(f"{path}_scale").double().numpy()
    integers = module.get_buffer(path).numpy()
    axis = next(
        node.args[3]
        for node in module.graph.nodes
        if node.op == "call_function" and "dequantize" in str(node.target) and node.args[0].target == path
    )
    return integers * scale.reshape([-1 if dim == axis else 1 for dim in range(integers.ndim)])


numbers = st.floats(-1e4, 1e4, width=16)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(numbers, min_size=n, max_size=n), min_size=1, max_size=5)),
    st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
)
def test_errors_are_within_half_a_step(rows, dtype):
    weight = torch.tensor(rows, dtype=dtype)
    wide = weight.double().numpy()
    module, _ = apply("quantize", linear(weight))
    integers, scale = module.get_buffer("fc.weight"), module.get_buffer("fc.weight_scale")
    assert integers.dtype == torch.int8
    assert int(integers.min()) >= -127
    largest = np.abs(wide).max(axis=1)
    assert np.allclose(scale.numpy(), np.where(largest > 0, largest / 127, 1), rtol=1e-6, atol=0)
    bound = scale.double().numpy()[:, None] / 2 * (1 + 1e-6)
    assert (np.abs(dequantized(module, "fc.weight") - wide) <= bound).all()
    # What the graph computes is that, rounded to the dtype that the layer calculates in.
    got = module(torch.eye(weight.shape[1], dtype=dtype)).double().numpy().T
    assert np.allclose(got, dequantized(module, "fc.weight"), rtol=2 * torch.finfo(dtype).eps + 1e-7, atol=1e-12)


def test_channels_of_zeros_and_of_next_to_nothing():
    weight = torch.tensor([[0.0, 0.0], [1e-44, 0.0], [1.0, -0.5]])
    module, _ = apply("quantize", linear(weight))
    assert module.get_buffer("fc.weight").tolist()[0] == [0, 0]
    assert module.get_buffer("fc.weight_scale")[0] == 1
    assert torch.allclose(module(torch.eye(2)).T, weight, atol=1 / 254)


def test_what_is_not_finite_is_an_error():
    with pytest.raises(PassFailed, match=r"fc.weight holds numbers that are not finite \(node %linear\)"):
        apply("quantize", linear(torch.tensor([[1.0, float("inf")]])))


@pytest.fixture(scope="module")
def many():
    torch.manual_seed(0)
    return fxc.capture(EveryWeight().eval(), (IDS,))


def test_every_weight_is_quantized_once_under_its_name(many):
    result = fxc.compress(many, None, "quantize")
    stage = result.stages[0]
    assert set(stage.details["quantized"]) == EVERY_WEIGHT | {"head.weight", "table.weight"}
    assert stage.details["quantized"]["up.weight"] == {"bits": 8, "axis": 1, "scale": "up.weight_scale"}
    assert stage.details["quantized"]["matrix"]["axis"] == 1
    assert result.module.head.weight is result.module.embedding.weight
    assert result.module.head.weight.dtype == torch.int8
    assert set(many.module.state_dict()) <= set(result.module.state_dict())
    for path in stage.details["quantized"]:
        before = many.module.state_dict()[path].double().numpy()
        step = result.module.get_buffer(f"{path}_scale").max().item()
        assert np.abs(dequantized(result.module, path) - before).max() <= step / 2 * (1 + 1e-6)
    sizes = [
        sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
        for module in (many.module, result.module)
    ]
    assert stage.statistics["saved"] == sizes[0] - sizes[1]


def test_the_results_are_near(many):
    result = fxc.compress(many, None, "quantize")
    want, got = many.module(IDS).detach(), result.module(IDS).detach()
    assert float((want - got).norm()) < 0.02 * float(want.norm())
    assert torch.isfinite(got).all()


def test_inserted_nodes_belong_to_the_module_of_their_reader(many):
    diff = fxc.compress(many, None, "quantize{targets=conv,attention}").stages[0].diff
    added = {entry.row.name: entry.row.scope for entry in diff.changes if entry.mark == "+"}
    assert added == {
        "conv_weight_dequantized": "conv",
        "attention_in_proj_weight_dequantized": "attention",
        "attention_out_proj_weight_dequantized": "attention",
    }


def test_a_second_run_leaves_all_alone(many):
    first, second = fxc.compress(many, None, "quantize,quantize").stages
    assert first.changed
    assert not second.changed
    assert second.statistics == {"tensors": 0, "weights": 0, "saved": 0}
    assert len(second.notes) == 2
    assert second.notes[0].endswith("left alone, the weight is quantized already")


def test_one_tensor_read_under_two_names():
    ids = torch.tensor([[0, 2, 1]])
    draft = Draft()
    weight = nn.Parameter(torch.randn(4, 3))
    head, table = draft.tensor("head", weight), draft.tensor("table", weight)
    x = draft.call(aten.embedding.default, table, draft.input("ids", ids))
    module = draft.module(draft.call(aten.linear.default, x, head))
    module, context = apply("quantize", module)
    assert module.head is module.table
    assert context.statistics["tensors"] == 1
    assert operations(module).count("quantized_decomposed.dequantize_per_channel") == 1
    rows = torch.from_numpy(dequantized(module, next(iter(context.details["quantized"])))).float()
    assert torch.allclose(module(ids), rows[ids] @ rows.T, atol=1e-6)


def test_the_axis_of_channels_is_found_behind_views():
    draft = Draft()
    rows = torch.randn(2, 3)
    x = draft.input("x", rows)
    expert = draft.call(aten.select.int, draft.tensor("experts", torch.randn(4, 3, 2)), 0, 1)
    x = draft.call(aten.matmul.default, x, expert)
    wide = draft.call(aten.t.default, draft.tensor("wide", torch.randn(2, 5)))
    x = draft.call(aten.linear.default, x, wide)
    parts = draft.call(aten.split.Tensor, draft.tensor("parts", torch.randn(6, 5)), 3)
    part = draft.call(operator.getitem, parts, 1)
    module, context = apply("quantize", draft.module(draft.call(aten.linear.default, x, part)))
    assert {path: facts["axis"] for path, facts in context.details["quantized"].items()} == {
        "experts": 2,
        "wide": 1,
        "parts": 0,
    }
    assert operations(module).count("quantized_decomposed.dequantize_per_channel") == 3


def test_a_weight_that_the_graph_writes_into_is_left_alone():
    draft = Draft()
    rows = torch.randn(2, 3)
    weight = draft.tensor("weight", torch.randn(3, 3).requires_grad_(False), buffer=True)
    x = draft.call(aten.linear.default, draft.input("x", rows), weight)
    draft.call(aten.mul_.Tensor, weight, 0.5)
    module, context = apply("quantize{targets=weight}", draft.module(x))
    assert context.notes == ["weight: left alone, the graph writes into it"]
    assert module.get_buffer("weight").dtype == torch.float32


def test_it_trains_around_the_integers():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 5)).eval()
    image = torch.randn(4, 3, 5, 5)
    module = fxc.compress(model, (image,), "quantize").module.train()
    integers = module.state_dict()["0.weight"].clone()
    assert {name for name, _ in module.named_parameters()} == {"0.bias", "1.weight", "1.bias", "4.bias"}
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    losses = []
    for _ in range(20):
        loss = (module(image) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    assert torch.equal(module.state_dict()["0.weight"], integers)
    assert not torch.equal(module.get_buffer("1.running_mean"), torch.zeros(4))


def test_what_is_saved_loads(many):
    module = fxc.compress(many, None, "quantize").module
    other = copy.deepcopy(module)
    for tensor in other.state_dict().values():
        tensor.zero_()
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(IDS), module(IDS))


def test_an_unknown_scheme_names_the_nearest():
    with pytest.raises(fxc.FxcompressError, match="w8a16"):
        fxc.Pipeline.parse("quantize{scheme=w8a17}")
    with pytest.raises(StepFailed, match=r"did you mean '0\.weight'"):
        fxc.compress(nn.Sequential(nn.Linear(3, 3)).eval(), (torch.randn(2, 3),), "quantize{targets=0.wait}")
