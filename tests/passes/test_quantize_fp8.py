"""Weights as 8-bit floats: the nearest of all numbers of the format, stored, lowered, pruned and read again."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import Draft, apply, operations
from torch import nn

import fxcompress as fxc

aten = torch.ops.aten
FP8 = torch.float8_e4m3fn
# Every finite number that eight bits can be.
ALL = torch.arange(256, dtype=torch.int16).to(torch.uint8).view(FP8).double()
ALL = ALL[ALL.isfinite()].unique()


class Layers(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.conv = nn.Embedding(20, 16), nn.Conv1d(16, 24, 3, padding=1)
        self.up, self.first, self.second = nn.ConvTranspose1d(24, 16, 2), nn.Linear(16, 32), nn.Linear(32, 5)

    def forward(self, x):
        wide = self.up(self.conv(self.table(x).transpose(1, 2)))
        return self.second(torch.relu(self.first(wide.transpose(1, 2))))


X = torch.arange(14).view(2, 7)


def relative(made, want):
    return float((made.detach() - want.detach()).norm() / want.detach().norm())


numbers = st.floats(-1e4, 1e4, width=32)
matrices = st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(matrices)
def test_every_weight_is_the_nearest_number_of_the_format(rows):
    weight = torch.tensor(rows)
    draft = Draft()
    x = draft.input("x", torch.eye(3))
    module = draft.module(draft.call(aten.linear.default, x, draft.tensor("fc.weight", weight)))
    module, context = apply("quantize{scheme=fp8}", module)
    stored, scales = module.get_buffer("fc.weight"), module.get_buffer("fc.weight_scale")
    assert (stored.dtype, stored.shape, scales.shape) == (FP8, weight.shape, (len(rows), 1))
    steps = weight.double() / scales.double()
    nearest = (steps[..., None] - ALL).abs().amin(-1)
    assert bool(((stored.double() - steps).abs() <= nearest + steps.abs() * 1e-6).all())
    assert torch.allclose(module(torch.eye(3)).T.double(), stored.double() * scales.double(), rtol=1e-6)
    assert any("8-bit floats" in note for note in context.notes)


@pytest.mark.parametrize("text", ["quantize{scheme=fp8}", "quantize{scheme=fp8},lower", "quantize{schemes=first:fp8}"])
def test_all_layers_and_the_file(text, tmp_path):
    model = Layers().eval()
    result = fxc.compress(model, (X,), text)
    assert relative(result.module(X), model(X)) < 0.1
    assert FP8 in {tensor.dtype for tensor in result.module.state_dict().values()}
    result.save(tmp_path / "m.fxc")
    again = fxc.load(tmp_path / "m.fxc").module
    assert torch.equal(again(X), result.module(X))
    assert [tensor.dtype for tensor in again.state_dict().values()] == [
        tensor.dtype for tensor in result.module.state_dict().values()
    ]


def test_lowering_keeps_floats_and_gives_the_same():
    model = Layers().eval()
    plain, lowered = (fxc.compress(model, (X,), f"quantize{{scheme=fp8}}{more}") for more in ("", ",lower"))
    assert operations(lowered.module).count("fxcompress.held_product") == 5
    assert "mul" not in operations(lowered.module)
    assert len(lowered.stages[-1].details["held"]) == 5
    assert relative(lowered.module(X), plain.module(X)) < 1e-6


def test_pruning_takes_rows_and_their_scales():
    model = Layers().eval()
    quantized = fxc.compress(model, (X,), "quantize{scheme=fp8}")
    pruned = fxc.compress(quantized, None, "prune{ratio=0.5 targets=second}").module
    before, after = quantized.module.state_dict(), pruned.state_dict()
    assert after["first.weight"].dtype == FP8
    assert after["first.weight"].shape == (16, 16)
    known = {(*row.float().tolist(), float(scale)) for row, scale in zip(*pair(before), strict=True)}
    assert {(*row.float().tolist(), float(scale)) for row, scale in zip(*pair(after), strict=True)} < known
    assert pruned(X).shape == model(X).shape


def pair(state):
    return state["first.weight"], state["first.weight_scale"]


def test_groups_are_refused_in_a_note():
    result = fxc.compress(Layers().eval(), (X,), "quantize{scheme=fp8 granularity=group}")
    assert any("one scale a channel, as fp8 has it" in note for note in result.stages[0].notes)
