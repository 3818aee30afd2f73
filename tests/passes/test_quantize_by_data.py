"""quantize{rounding=...}: less error on the calibration data than nearest, measured by running the layers."""

from __future__ import annotations

import copy

import pytest
import torch
from nets import Draft, operations
from torch import nn

import fxcompress as fxc
from fxcompress.errors import StepFailed

aten = torch.ops.aten

HOW = ["gptq", "learned"]


def correlated(*shape: int) -> torch.Tensor:
    torch.manual_seed(5)
    mixing = torch.randn(shape[1], shape[1]) * torch.rand(shape[1]) ** 3
    return (torch.randn(*shape).movedim(1, -1) @ mixing).movedim(-1, 1).contiguous()


LAYERS = {
    "linear": (nn.Linear(48, 8), (64, 48)),
    "conv1d": (nn.Conv1d(6, 8, 3, padding=1, stride=2), (8, 6, 20)),
    "conv2d": (nn.Conv2d(8, 8, 3, padding="same", dilation=2), (4, 8, 9, 9)),
    "grouped": (nn.Conv2d(16, 32, 3, groups=2, bias=False), (4, 16, 8, 8)),
    "depthwise": (nn.Conv2d(8, 8, 3, groups=8, padding=1), (4, 8, 8, 8)),
}


def error_of(module: nn.Module, layer: nn.Module, batches: list[torch.Tensor]) -> float:
    with torch.no_grad():
        return sum(float((module(x) - layer(x)).double().square().sum()) for x in batches)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("scheme", ["w8a16", "w4a16", "w3a16", "w2a16", "w4a16 granularity=tensor", "pow2"])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_have_less_error_than_rounded_to_nearest(name, scheme, how):
    layer, shape = LAYERS[name]
    batches = list(correlated(*shape).split(2))
    captured = fxc.capture(copy.deepcopy(layer).eval(), (batches[0],))
    results = {
        word: fxc.compress(captured, None, f"quantize{{scheme={scheme} rounding={word}}}", calibration=batches)
        for word in ("nearest", how)
    }
    ours, plain = (error_of(results[word].module, layer, batches) for word in (how, "nearest"))
    # At 8 bits nine weights have next to nothing to make up with; whole layers can only be better.
    assert ours < plain * (1.0001 if name == "depthwise" or scheme == "pow2" else 0.9)
    nearest, found = (results[word].module.state_dict() for word in ("nearest", how))
    assert {key: (one.dtype, one.shape) for key, one in found.items()} == {
        key: (one.dtype, one.shape) for key, one in nearest.items()
    }
    assert (
        results[how].stages[0].details["quantized"].keys() == results["nearest"].stages[0].details["quantized"].keys()
    )


class Stack(nn.Module):
    """Several layers behind one another, two of which read one value."""

    def __init__(self):
        super().__init__()
        self.first, self.left, self.right = nn.Linear(24, 48), nn.Linear(48, 48), nn.Linear(48, 48)
        self.last = nn.Linear(48, 8)

    def forward(self, x):
        x = self.first(x).relu()
        return self.last((self.left(x) * self.right(x).sigmoid()).relu())


def test_whole_models_are_nearer_on_data_not_seen():
    torch.manual_seed(6)
    model, rows = Stack().eval(), correlated(640, 24)
    seen, unseen = list(rows[:512].split(64)), [rows[512:]]
    captured = fxc.capture(model, (seen[0],))
    before = {name: tensor.clone() for name, tensor in captured.module.state_dict().items()}
    errors = {
        how: error_of(
            fxc.compress(captured, None, f"quantize{{scheme=w3a16 rounding={how}}}", calibration=seen).module,
            model,
            unseen,
        )
        for how in ("nearest", "gptq", "learned")
    }
    assert errors["gptq"] < 0.6 * errors["nearest"]
    assert errors["learned"] < errors["gptq"]
    assert all(torch.equal(before[name], tensor) for name, tensor in captured.module.state_dict().items())


@pytest.mark.parametrize("how", HOW)
def test_what_is_left_to_nearest_is_named(how):
    draft = Draft()
    x = draft.input("x", torch.randn(4, 6))
    shared, up = draft.tensor("shared.weight", torch.randn(6, 6)), draft.tensor("up.weight", torch.randn(6, 2, 3))
    x = draft.call(aten.linear.default, draft.call(aten.linear.default, x, shared), shared)
    x = draft.call(aten.conv_transpose1d.default, draft.call(aten.unsqueeze.default, x, 2), up)
    result = fxc.compress(
        draft.module(x), (torch.randn(4, 6),), f"quantize{{rounding={how}}}", calibration=[torch.randn(4, 6)]
    )
    assert "shared.weight: rounded to nearest, the weight is shared" in result.stages[0].notes
    assert "up.weight: rounded to nearest, a transposed convolution" in result.stages[0].notes


def test_addmm_and_weights_on_the_right():
    draft = Draft()
    rows = correlated(64, 32)
    x, weight, bias = draft.input("x", rows), draft.tensor("w", torch.randn(32, 4)), draft.tensor("b", torch.randn(4))
    module = draft.module(draft.call(aten.addmm.default, bias, x, weight))
    want = module(rows)
    errors = [
        float((fxc.compress(module, (rows,), text, calibration=[rows]).module(rows) - want).detach().norm())
        for text in ("quantize{scheme=w3a16 rounding=gptq}", "quantize{scheme=w3a16}")
    ]
    assert errors[0] < 0.8 * errors[1]


def test_no_row_reaches_a_layer():
    draft = Draft()
    x, weight = draft.input("x", torch.randn(4, 6)), draft.tensor("w.weight", torch.randn(2, 6))
    none = draft.call(aten.slice.Tensor, x, 0, 0, 0)
    module = draft.module(draft.call(aten.linear.default, none, weight))
    result = fxc.compress(module, (torch.randn(4, 6),), "quantize{rounding=gptq}", calibration=[torch.randn(4, 6)])
    assert result.stages[0].notes == ("w.weight: rounded to nearest, no row of the calibration data reaches the layer",)
    assert "quantized_decomposed.dequantize_per_channel" in operations(result.module)


@pytest.mark.parametrize("scheme", ["w3a16", "w3a16 granularity=tensor", "w4a16 granularity=channel"])
def test_embeddings_have_the_ranges_of_least_error(scheme):
    torch.manual_seed(9)
    draft = Draft()
    table, head = (
        draft.tensor("table.weight", torch.randn(20, 64) ** 3),
        draft.tensor("head.weight", torch.randn(4, 64)),
    )
    ids = torch.arange(20).view(2, 10)
    x = draft.call(aten.embedding.default, table, draft.input("ids", ids))
    module = draft.module(x, draft.call(aten.linear.default, x, head))
    want = module(ids)[0]
    errors = [
        float((fxc.compress(module, (ids,), text, calibration=[ids]).module(ids)[0] - want).detach().norm())
        for text in (f"quantize{{scheme={scheme} rounding=gptq}}", f"quantize{{scheme={scheme}}}")
    ]
    assert errors[0] < errors[1]


def test_learned_weights_leave_biases_alone():
    model, rows = fxc.capture(nn.Linear(4, 2).eval(), (torch.randn(2, 4),)), torch.randn(32, 4)
    text = "quantize{scheme=w2a16 rounding=learned bias_correction=true}"
    result = fxc.compress(model, None, text, calibration=[rows])
    assert torch.equal(result.module.bias, model.module.bias)
    assert any(note.startswith("biases stay as they are") for note in result.stages[0].notes)


class Huge(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x.exp())


def test_batches_are_checked():
    model, good = fxc.capture(Huge().eval(), (torch.randn(2, 4),)), torch.randn(2, 4)
    with pytest.raises(StepFailed, match=r"calibration batch 1: the inputs .* hold NaN"):
        fxc.compress(model, None, "quantize{rounding=gptq}", calibration=[good, good * float("nan")])
    with pytest.raises(StepFailed, match="calibration batch 1: the input of %linear: values that are not finite"):
        fxc.compress(model, None, "quantize{rounding=gptq}", calibration=[good, torch.full((2, 4), 1e4)])
