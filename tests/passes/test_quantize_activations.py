"""Rounded activations, against their own ranges and against what the original model computes."""

from __future__ import annotations

import pytest
import torch
from nets import IDS, Draft, EveryWeight, apply, operations
from torch import nn

import fxcompress as fxc
from fxcompress.errors import StepFailed

aten = torch.ops.aten


@pytest.fixture(scope="module")
def many():
    torch.manual_seed(0)
    return fxc.capture(EveryWeight().eval(), (IDS,))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, x):
        x = torch.tanh(x)
        return torch.softmax(self.q(x) @ self.k(x).transpose(1, 2), -1) @ self.v(x)


def test_one_activation_is_rounded_once_for_all_that_read_it():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 16)
    for scheme, first in (("w8a8", "quantize_per_token"), ("w8a8-static", "quantize_per_tensor")):
        result = fxc.compress(Attention(), (x,), f"quantize{{scheme={scheme}}}", calibration=[(x,)])
        assert operations(result.module).count(f"quantized_decomposed.{first}") == 1
        assert result.stages[0].details["activations"]["tanh"]["readers"] == ["linear", "linear_1", "linear_2"]
        assert result.stages[0].notes == ("1 activation is rounded, for 3 layers",)


def test_tokens_are_rounded_by_their_own_range():
    weight = torch.eye(8)
    rows = torch.randn(6, 8) * torch.logspace(-3, 3, 6)[:, None]
    draft = Draft()
    out = draft.call(aten.linear.default, draft.input("x", rows), draft.tensor("fc.weight", weight))
    module, _ = apply("quantize{scheme=w8a8}", draft.module(out))
    wide = rows.double()
    steps = (wide.amax(1).clamp(min=0) - wide.amin(1).clamp(max=0)) / 255
    assert ((module(rows).double() - wide).abs() <= steps[:, None] * 0.5 * (1 + 1e-3)).all()


def test_static_ranges_are_those_of_the_calibration_data():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 4, 2), nn.Flatten(), nn.Linear(196, 3))
    image = torch.randn(2, 3, 8, 8)
    batches = [image, *(torch.randn(2, 3, 8, 8) for _ in range(4))]
    text = "quantize{scheme=w8a8-static observer=minmax}"
    result = fxc.compress(model, (image,), text, calibration=[(one,) for one in batches])
    found = result.stages[0].details["activations"]
    for name, depth in (("relu", 2), ("flatten", 4)):
        seen = torch.cat([model[:depth](one).detach().flatten() for one in batches]).double()
        least, most = min(0.0, float(seen.min())), max(0.0, float(seen.max()))
        assert found[name]["scale"] == pytest.approx((most - least) / 255, rel=1e-5)
        assert found[name]["zero"] == round(-least / found[name]["scale"])
    want = model(image).detach()
    assert float((want - result.module(image).detach()).norm()) < 0.03 * float(want.norm())


def test_static_needs_data(many):
    with pytest.raises(StepFailed, match="needs calibration data"):
        fxc.compress(many, None, "quantize{scheme=w8a8-static}")
    with pytest.raises(StepFailed, match=r"calibration batch 1: .*has shape"):
        fxc.compress(many, None, "quantize{scheme=w8a8-static}", calibration=[(IDS,), (IDS[:, :2],)])


def test_what_is_not_rounded_is_said(many):
    notes = fxc.compress(many, None, "quantize{scheme=w8a8}").stages[0].notes
    assert any("only weights are quantized, it is no product of one stored weight" in note for note in notes)
    assert not any("embedding" in note or "conv" in note for note in notes)


@pytest.mark.parametrize("scheme", ["w8a8", "w8a8-static", "w4a16", "bf16", "pow2"])
def test_what_is_left_in_floats_trains(scheme):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 4), nn.LayerNorm(4)).eval()
    rows = torch.randn(16, 32)
    module = fxc.compress(model, (rows,), f"quantize{{scheme={scheme}}}", calibration=[(rows,)]).module.train()
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    losses = []
    for _ in range(20):
        loss = (module(rows) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_products_with_a_weight_on_either_side():
    torch.manual_seed(0)
    left, right, rows = torch.randn(5, 4), torch.randn(6, 3), torch.randn(2, 4, 6)
    draft = Draft()
    x = draft.call(aten.matmul.default, draft.tensor("left", left), draft.input("x", rows))
    module = draft.module(draft.call(aten.matmul.default, x, draft.tensor("right", right)))
    module, context = apply("quantize{scheme=w8a8}", module)
    assert any(note.startswith("%matmul: only weights are quantized, the sums") for note in context.notes)
    assert list(context.details["activations"]) == ["matmul"]
    want = (left @ rows @ right).double()
    assert float((module(rows).double() - want).norm()) < 0.02 * float(want.norm())
