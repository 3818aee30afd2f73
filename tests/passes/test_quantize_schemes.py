"""Schemes of few bits and of activations, against float64 and against what the original model computes."""

from __future__ import annotations

import copy
import typing

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import EVERY_WEIGHT, IDS, Draft, EveryWeight, apply, operations
from torch import nn

import fxcompress as fxc
from fxcompress.calibration import OBSERVERS
from fxcompress.errors import StepFailed
from fxcompress.passes.quantize import Quantize
from fxcompress.schemes import SCHEMES

aten = torch.ops.aten
INTEGERS = [name for name, scheme in SCHEMES.items() if scheme.format not in ("bf16", "fp8")]


def linear(weight):
    draft = Draft()
    x = draft.input("x", torch.eye(weight.shape[1], dtype=weight.dtype))
    return draft.module(draft.call(aten.linear.default, x, draft.tensor("fc.weight", weight)))


def stored(module, facts, path):
    """The float64 weight that is stored under `path`, and the length of each step."""
    integers, axis = module.get_buffer(path).double(), facts["axis"]
    if not isinstance(facts["scale"], str):
        return (integers - facts.get("zero", 0)) * facts["scale"], torch.full_like(integers, facts["scale"])
    scales = module.get_buffer(facts["scale"]).double()
    zeros = module.get_buffer(facts["zero"]).double() if "zero" in facts else torch.zeros_like(scales)
    moved = integers.movedim(axis, 0)
    rows = moved.reshape(scales.numel(), -1)
    steps = scales.reshape(-1, 1).expand_as(rows)
    wide = (rows - zeros.reshape(-1, 1)) * steps
    return tuple(one.reshape(moved.shape).movedim(0, axis) for one in (wide, steps))


def test_the_options_name_the_schemes_and_observers():
    hints = typing.get_type_hints(Quantize)
    assert set(typing.get_args(hints["scheme"])) == set(SCHEMES)
    assert set(typing.get_args(hints["observer"])) == set(OBSERVERS)


numbers = st.floats(-1e4, 1e4, width=16)
matrices = st.tuples(st.integers(1, 4), st.sampled_from([2, 16, 32, 48, 64])).flatmap(
    lambda shape: st.lists(
        st.lists(numbers, min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0]
    )
)


@pytest.mark.parametrize("granularity", ["none", "tensor", "channel", "group"])
@pytest.mark.parametrize("scheme", INTEGERS)
@settings(max_examples=10, deadline=None)
@given(matrices)
def test_errors_are_within_half_a_step(scheme, granularity, rows):
    if SCHEMES[scheme].activation == "static":
        scheme = "w8a16"
    weight = torch.tensor(rows)
    module, context = apply(f"quantize{{scheme={scheme} granularity={granularity}}}", linear(weight))
    (facts,) = context.details["quantized"].values()
    wide, steps = stored(module, facts, "fc.weight")
    assert ((wide - weight.double()).abs() <= steps / 2 * (1 + 1e-5)).all()
    assert module.get_buffer("fc.weight").dtype == torch.int8
    low, high = SCHEMES[scheme].range
    assert low <= int(module.get_buffer("fc.weight").min()) <= int(module.get_buffer("fc.weight").max()) <= high
    if SCHEMES[scheme].activation == "none":
        assert torch.allclose(module(torch.eye(weight.shape[1])).T.double(), wide, rtol=1e-5, atol=1e-12)


def test_zero_stays_zero():
    weight = torch.rand(4, 64) + 1
    weight[:, ::3] = 0
    for scheme in ("w8a16", "w4a16", "w3a16", "w2a16", "pow2"):
        module, _ = apply(f"quantize{{scheme={scheme}}}", linear(weight.clone()))
        assert (module(torch.eye(64)).T[weight == 0] == 0).all()


def test_groups_are_as_large_as_the_weights_allow():
    for inputs, group, notes in ((64, 32, 0), (48, 16, 1), (128, 32, 0)):
        module, context = apply("quantize{scheme=w4a16}", linear(torch.randn(3, inputs)))
        assert context.details["quantized"]["fc.weight"]["group"] == group
        assert module.get_buffer("fc.weight_scale").shape == (3, inputs // group)
        assert len(context.notes) == notes
    module, context = apply("quantize{scheme=w4a16 group=128}", linear(torch.randn(3, 256)))
    assert module.get_buffer("fc.weight_scale").shape == (3, 2)
    module, context = apply("quantize{scheme=w4a16}", linear(torch.randn(3, 9)))
    assert context.notes == ["fc.weight: one scale a channel, since 9 weights make no groups of 32"]
    assert operations(module)[0] == "quantized_decomposed.dequantize_per_channel"


def test_powers_of_two_are_the_least_that_fit():
    for largest in (127.0, 127.0 * 2**-5, 128.0, 1.0, 3e-30):
        _, context = apply("quantize{scheme=pow2 granularity=tensor}", linear(torch.tensor([[largest, -largest / 3]])))
        scale = context.details["quantized"]["fc.weight"]["scale"]
        assert np.log2(scale) == round(np.log2(scale))
        assert 63.5 < largest / scale <= 127


@pytest.fixture(scope="module")
def many():
    torch.manual_seed(0)
    return fxc.capture(EveryWeight().eval(), (IDS,))


@pytest.mark.parametrize(
    ("options", "least"),
    [
        ("scheme=w8a8", 34),
        ("scheme=w8a8-static", 30),
        ("scheme=w4a16 group=2", 15),
        ("scheme=w3a16 group=2", 9),
        ("scheme=w2a16 group=2", 2),
        ("scheme=pow2", 28),
        ("scheme=bf16", 36),
    ],
)
def test_every_scheme_runs_saves_and_loads(many, tmp_path, options, least):
    result = fxc.compress(many, None, f"quantize{{{options}}}", calibration=[(IDS,), (IDS.flip(0),)])
    (stage,) = result.stages
    assert set(stage.details["quantized"]) == EVERY_WEIGHT | {"head.weight", "table.weight"}
    want, got = many.module(IDS).detach().double(), result.module(IDS).detach().double()
    assert float(20 * torch.log10(want.norm() / (want - got).norm())) > least
    before, after = (
        sum(one.nbytes for one in (*module.parameters(), *module.buffers())) for module in (many.module, result.module)
    )
    assert stage.statistics["saved"] == before - after
    if SCHEMES[options.split()[0].removeprefix("scheme=")].format == "int":
        for path, facts in stage.details["quantized"].items():
            wide, steps = stored(result.module, facts, path)
            assert ((wide - many.module.state_dict()[path].double()).abs() <= steps / 2 * (1 + 1e-5)).all()
    result.save(tmp_path / "model.fxc")
    assert torch.equal(fxc.load(tmp_path / "model.fxc").module(IDS), result.module(IDS))
    assert torch.equal(copy.deepcopy(result.module)(IDS), result.module(IDS))


def test_schemes_of_their_own(many):
    result = fxc.compress(
        many, None, "quantize{scheme=w4a16 schemes=conv:w8a16,attention:w8a8,attention.out_proj:w3a16}"
    )
    bits = {path: facts["bits"] for path, facts in result.stages[0].details["quantized"].items()}
    assert bits["conv.weight"] == bits["attention.in_proj_weight"] == 8
    assert bits["attention.out_proj.weight"] == 3
    assert bits["up.weight"] == 4
    assert 0 < len(result.stages[0].details["activations"]) <= 3
    with pytest.raises(StepFailed, match="did you mean 'w8a8'"):
        fxc.compress(many, None, "quantize{schemes=conv:w8a7}")
    with pytest.raises(StepFailed, match="write pattern:scheme"):
        fxc.compress(many, None, "quantize{schemes=conv}")
    with pytest.raises(StepFailed, match=r"did you mean 'conv"):
        fxc.compress(many, None, "quantize{schemes=convv:w8a8}")


def test_halves_stay_as_they_are_under_bf16():
    module, context = apply("quantize{scheme=bf16}", linear(torch.randn(2, 4, dtype=torch.bfloat16)))
    assert context.notes == ["fc.weight: left alone, it has 16 bits already"]
    assert operations(module) == ["linear"]


def test_bf16_is_not_undone_by_folding(many):
    result = fxc.compress(many, None, "quantize{scheme=bf16},fold-constants,quantize{scheme=bf16}")
    assert not result.stages[1].changed
    assert result.stages[2].statistics["tensors"] == 0
    assert result.module.get_parameter("conv.weight").dtype == torch.bfloat16


def test_corrected_biases_keep_the_means_of_outputs():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5)).eval()
    batches = [torch.randn(8, 4, 6, 6) + torch.tensor([3.0, -2.0, 1.0, 0.5]).view(4, 1, 1) for _ in range(3)]
    means = {}
    for text in ("", " bias_correction=true"):
        result = fxc.compress(
            model, (batches[0],), f"quantize{{scheme=w3a16 targets=0{text}}}", calibration=[(one,) for one in batches]
        )
        weight, bias = result.module.state_dict()["0.weight"], result.module.state_dict()["0.bias"]
        wide, _ = stored(result.module, result.stages[0].details["quantized"]["0.weight"], "0.weight")
        assert weight.shape == wide.shape
        everything = torch.cat(batches).double()
        got = torch.nn.functional.conv2d(everything, wide, bias.double(), groups=2)
        want = model[0](torch.cat(batches)).detach().double()
        means[text] = float((got - want).mean((0, 2, 3)).abs().max())
    # Without padding the mean of the outputs of a convolution is that of its inputs but for the border.
    assert means[" bias_correction=true"] < 0.25 * means[""]
    result = fxc.compress(
        model, (batches[0],), "quantize{scheme=w3a16 bias_correction=true}", calibration=[(one,) for one in batches]
    )
    assert result.stages[0].details["corrected"] == ["conv2d", "linear"]
    wide, _ = stored(result.module, result.stages[0].details["quantized"]["3.weight"], "3.weight")
    inner = model[:3](torch.cat(batches)).detach().double()
    error = inner @ (wide - model[3].weight.detach().double()).T
    bias = result.module.get_parameter("3.bias").detach().double() - model[3].bias.detach().double()
    assert torch.allclose(error.mean(0) + bias, torch.zeros(5, dtype=torch.double), atol=1e-5)
    assert float(error.mean(0).abs().max()) > 1e-3


def test_groups_of_what_lies_along_another_axis():
    torch.manual_seed(0)
    draft = Draft()
    rows = torch.randn(2, 5, 32)
    x = draft.call(aten.matmul.default, draft.input("x", rows), draft.tensor("wide", torch.randn(32, 6)))
    x = draft.call(aten.transpose.int, x, 1, 2)
    module = draft.module(draft.call(aten.conv1d.default, x, draft.tensor("conv", torch.randn(16, 6, 4))))
    before = copy.deepcopy(module.state_dict())
    module, context = apply("quantize{scheme=w4a16 group=8}", module)
    assert context.notes == []
    weights = []
    for path in ("wide", "conv"):
        wide, steps = stored(module, context.details["quantized"][path], path)
        assert module.get_buffer(path).shape == before[path].shape
        assert ((wide - before[path].double()).abs() <= steps / 2 * (1 + 1e-5)).all()
        weights.append(wide)
    want = torch.nn.functional.conv1d((rows.double() @ weights[0]).transpose(1, 2), weights[1])
    assert torch.allclose(module(rows).double(), want, rtol=1e-4, atol=1e-4)
    assert operations(module).count("quantized_decomposed.dequantize_per_channel_group") == 2
