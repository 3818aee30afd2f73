"""fold-bn gives what the graph gave: random layers in float64 against torch's own modules, and what has to stay."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import Draft, apply, operations, with_statistics
from torch import nn

import fxcompress as fxc

aten = torch.ops.aten
CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)
TRANSPOSED = (aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input)
quick = settings(max_examples=20, deadline=None)


def randn(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype)


def same(module, before, *inputs, tolerance=1e-12):
    """Whether the module gives what it gave, relative to the largest magnitude."""
    difference = (module(*inputs) - before).detach().abs().max()
    return float(difference) <= tolerance * float(before.detach().abs().max())


@st.composite
def layers(draw, transposed=False, padded=True):
    """Sizes and options of a convolution; the numbers come from a seed that is drawn too."""
    torch.manual_seed(draw(st.integers(0, 99)))
    dims = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    inside, outside = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    kernel = draw(st.lists(st.integers(1, 3), min_size=dims, max_size=dims))
    options = {
        "stride": [draw(st.integers(1, 2))] * dims,
        "padding": [draw(st.integers(0, 1 if padded else 0))] * dims,
        "dilation": [1 if transposed else draw(st.integers(1, 2))] * dims,
        "groups": groups,
    }
    return dims, inside, outside, kernel, options, draw(st.booleans()), draw(st.booleans())


def convolution(draft, x, layer, transposed=False):
    dims, inside, outside, kernel, options, bias, _ = layer
    groups = options["groups"]
    shape = (inside, outside // groups) if transposed else (outside, inside // groups)
    given = draft.tensor("conv.bias", randn(outside)) if bias else None
    weight = draft.tensor("conv.weight", randn(*shape, *kernel))
    target = (TRANSPOSED if transposed else CONVOLUTIONS)[dims - 1]
    return draft.call(target, x, weight, given, **options)


@quick
@given(layers())
def test_after_a_convolution(layer):
    draft = Draft()
    image = randn(2, layer[1], *[6] * layer[0])
    conv = convolution(draft, draft.input("x", image), layer)
    module = draft.module(draft.batch_norm(conv, "bn", layer[2], affine=layer[6]))
    before = module(image)
    module, context = apply("fold-bn", module)
    assert same(module, before, image)
    assert operations(module) == [f"conv{layer[0]}d"]
    assert context.statistics == {"folded": 1, "kept": 0}
    assert sorted(module.state_dict()) == ["conv.bias", "conv.weight"]


@quick
@given(layers(transposed=True))
def test_after_a_transposed_convolution(layer):
    draft = Draft()
    image = randn(2, layer[1], *[5] * layer[0])
    conv = convolution(draft, draft.input("x", image), layer, transposed=True)
    module = draft.module(draft.batch_norm(conv, "bn", layer[2], affine=layer[6]))
    before = module(image)
    module, _ = apply("fold-bn", module)
    assert same(module, before, image)
    assert operations(module) == [f"conv_transpose{layer[0]}d"]


@quick
@given(layers(padded=False))
def test_before_a_convolution_without_padding(layer):
    draft = Draft()
    image = randn(2, layer[1], *[6] * layer[0])
    norm = draft.batch_norm(draft.input("x", image), "bn", layer[1], affine=layer[6])
    module = draft.module(convolution(draft, norm, layer))
    before = module(image)
    module, _ = apply("fold-bn", module)
    assert same(module, before, image)
    assert operations(module) == [f"conv{layer[0]}d"]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("order", ["after", "before"])
def test_linear(order, bias):
    draft = Draft()
    rows = randn(5, 4)
    x = draft.input("x", rows)
    if order == "before":
        x = draft.batch_norm(x, "bn", 4)
    given = [draft.tensor("fc.bias", randn(3))] if bias else []
    x = draft.call(aten.linear.default, x, draft.tensor("fc.weight", randn(3, 4)), *given)
    module = draft.module(draft.batch_norm(x, "bn", 3) if order == "after" else x)
    before = module(rows)
    module, _ = apply("fold-bn", module)
    assert same(module, before, rows)
    assert operations(module) == ["linear"]


def flattened(draft, x):
    return draft.call(aten.flatten.using_ints, x, 0, 1)


def transposed(draft, x):
    return draft.call(aten.transpose.int, x, 1, 2)


def viewed_and_permuted(draft, x):
    return draft.call(aten.permute.default, draft.call(aten.view.default, x, [2, 1, 3, 4]), [0, 3, 1, 2])


@pytest.mark.parametrize("arrange", [flattened, transposed, viewed_and_permuted])
def test_through_what_only_rearranges(arrange):
    tokens = randn(2, 3, 5)
    draft = Draft()
    x = draft.call(aten.linear.default, draft.input("x", tokens), draft.tensor("fc.weight", randn(4, 5)))
    module = draft.module(draft.batch_norm(arrange(draft, x), "bn", 4))
    before = module(tokens)
    module, _ = apply("fold-bn", module)
    assert same(module, before, tokens)
    assert "batch_norm" not in operations(module)


def test_through_what_only_rearranges_after_it():
    image = randn(2, 5, 3, 1)
    draft = Draft()
    x = draft.batch_norm(draft.input("x", image), "bn", 5)
    x = draft.call(aten.dropout.default, draft.call(aten.squeeze.dim, x, -1), 0.0, False)
    x = draft.call(aten.linear.default, draft.call(aten.transpose.int, x, 1, 2), draft.tensor("fc.weight", randn(4, 5)))
    module = draft.module(x)
    before = module(image)
    module, _ = apply("fold-bn", module)
    assert same(module, before, image)
    assert "batch_norm" not in operations(module)


def test_a_view_that_mixes_channels_with_positions_stays():
    tokens = randn(2, 6, 4)
    draft = Draft()
    x = draft.call(aten.linear.default, draft.input("x", tokens), draft.tensor("fc.weight", randn(4, 4)))
    x = draft.call(aten.view.default, x, [2, 4, 6])
    module = draft.module(draft.batch_norm(x, "bn", 4))
    before = module(tokens)
    module, context = apply("fold-bn", module)
    assert torch.equal(module(tokens), before)
    assert "channels on another axis" in context.notes[0]


def test_a_convolution_of_one_image_without_a_batch_has_its_channels_elsewhere():
    image = randn(3, 4, 4)
    draft = Draft()
    x = draft.call(aten.conv2d.default, draft.input("x", image), draft.tensor("conv.weight", randn(4, 3, 1, 1)))
    module = draft.module(draft.batch_norm(x, "bn", 4))
    before = module(image)
    module, context = apply("fold-bn", module)
    assert torch.equal(module(image), before)
    assert context.statistics["kept"] == 1


class LinearThenNorm(nn.Module):
    """As LeViT does it, over whatever batch."""

    def __init__(self):
        super().__init__()
        self.fc, self.bn = nn.Linear(6, 4, bias=False), nn.BatchNorm1d(4)

    def forward(self, tokens):
        tokens = self.fc(tokens)
        return self.bn(tokens.flatten(0, 1)).reshape_as(tokens)


def test_levit_folds_with_a_dynamic_batch():
    model = with_statistics(LinearThenNorm()).double()
    tokens = randn(2, 3, 6)
    result = fxc.compress(model, (tokens,), "fold-bn")
    assert result.stages[0].details["folded"] == {"batch_norm": "fc.weight"}
    other = randn(5, 3, 6)
    assert same(result.module, model(other), other)
    assert list(result.module.state_dict()) == ["fc.weight", "fc.bias"]


def test_chains_fold_whole():
    image = randn(2, 3, 5, 5)
    draft = Draft()
    x = draft.call(aten.conv2d.default, draft.input("x", image), draft.tensor("a.weight", randn(4, 3, 3, 3)))
    x = draft.batch_norm(draft.batch_norm(x, "one", 4), "two", 4)
    x = draft.call(aten.relu.default, x)
    x = draft.batch_norm(draft.batch_norm(x, "three", 4), "four", 4)
    x = draft.call(aten.conv2d.default, x, draft.tensor("b.weight", randn(4, 4, 3, 3)))
    module = draft.module(x)
    before = module(image)
    module, context = apply("fold-bn", module)
    assert same(module, before, image)
    assert operations(module) == ["conv2d", "relu", "conv2d"]
    assert context.statistics == {"folded": 4, "kept": 0}
    assert set(context.details["folded"].values()) == {"a.weight", "b.weight"}


def test_a_padded_convolution_after_it_stays():
    image = randn(2, 3, 5, 5)
    draft = Draft()
    norm = draft.batch_norm(draft.input("x", image), "bn", 3)
    weight = draft.tensor("conv.weight", randn(4, 3, 3, 3))
    module = draft.module(draft.call(aten.conv2d.default, norm, weight, None, [1, 1], [1, 1]))
    before, names = module(image), list(module.state_dict())
    module, context = apply("fold-bn", module)
    assert torch.equal(module(image), before)
    assert list(module.state_dict()) == names
    assert context.notes == [
        "%batch_norm: not folded, no linear or convolution before it; the convolution after it pads with zeros"
    ]
    assert list(context.details["kept"]) == ["batch_norm"]


@pytest.mark.parametrize(("kernel", "folds"), [(1, True), (3, False)])
def test_same_padding_of_a_single_tap_is_none(kernel, folds):
    image = randn(2, 3, 5, 5)
    draft = Draft()
    norm = draft.batch_norm(draft.input("x", image), "bn", 3)
    weight = draft.tensor("conv.weight", randn(4, 3, kernel, kernel))
    module = draft.module(draft.call(aten.conv2d.padding, norm, weight, None, [1, 1], "same"))
    before = module(image)
    module, _ = apply("fold-bn", module)
    assert same(module, before, image)
    assert ("batch_norm" not in operations(module)) == folds


def test_a_value_that_is_used_elsewhere_stays():
    image = randn(2, 3, 5, 5)
    draft = Draft()
    x = draft.call(aten.conv2d.default, draft.input("x", image), draft.tensor("conv.weight", randn(3, 3, 1, 1)))
    module = draft.module(draft.call(aten.add.Tensor, draft.batch_norm(x, "bn", 3), x))
    before = module(image)
    module, context = apply("fold-bn", module)
    assert torch.equal(module(image), before)
    assert "the value before it is used elsewhere too" in context.notes[0]


def test_a_shared_weight_stays():
    image = randn(2, 3, 5, 5)
    draft = Draft()
    weight = nn.Parameter(randn(3, 3, 1, 1))
    x = draft.call(aten.conv2d.default, draft.input("x", image), draft.tensor("a.weight", weight))
    x = draft.call(aten.conv2d.default, draft.batch_norm(x, "bn", 3), draft.tensor("b.weight", weight))
    module = draft.module(x)
    before = module(image)
    module, context = apply("fold-bn", module)
    assert torch.equal(module(image), before)
    assert context.notes == ["%batch_norm: not folded, the weight before it is shared; the weight after it is shared"]


def test_a_weight_that_a_linear_computes_with_otherwise_stays():
    rows = randn(2, 3)
    draft = Draft()
    weight = draft.tensor("fc.weight", randn(4, 3))
    scaled = draft.call(aten.mul.Tensor, weight, 2.0)
    x = draft.call(aten.linear.default, draft.input("x", rows), scaled)
    module, context = apply("fold-bn", draft.module(draft.batch_norm(x, "bn", 4)))
    assert "the weight before it is computed in the graph" in context.notes[0]
    assert "batch_norm" in operations(module)


class TwoOneNorm(nn.Module):
    """One batch norm behind two layers, or behind a layer and on its own."""

    def __init__(self, both):
        super().__init__()
        self.a, self.b, self.bn, self.both = nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4), both

    def forward(self, x):
        first = torch.relu(self.bn(self.a(x)))
        return self.bn(self.b(first)) if self.both else self.bn(first) + self.b(x)


@pytest.mark.parametrize("both", [True, False])
def test_a_batch_norm_that_is_called_twice(both):
    model = with_statistics(TwoOneNorm(both)).double()
    rows = randn(3, 4)
    result = fxc.compress(model, (rows,), "fold-bn")
    assert same(result.module, model(rows), rows)
    kept = {name for name in result.module.state_dict() if name.startswith("bn.")}
    assert kept == (set() if both else set(model.state_dict()) & {f"bn.{name}" for name in model.bn.state_dict()})
    assert result.stages[0].statistics == ({"folded": 2, "kept": 0} if both else {"folded": 1, "kept": 1})


def test_statistics_of_the_batch_stay():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False)).double().eval()
    rows = randn(3, 4)
    result = fxc.compress(model, (rows,), "fold-bn")
    assert torch.equal(result.module(rows), model(rows))
    assert result.stages[0].notes == ("%batch_norm: not folded, it normalises by the statistics of the batch",)
    assert not result.stages[0].changed


def test_a_module_in_training_stays():
    model = with_statistics(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))
    module = fxc.capture(model, (torch.randn(3, 4),)).module.train()
    module, context = apply("fold-bn", module)
    assert "batch_norm" in operations(module)
    assert context.statistics == {"folded": 0, "kept": 1}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2e-2), (torch.float16, 2e-3), (torch.float32, 1e-6)])
def test_narrow_dtypes_are_rounded_once(dtype, tolerance):
    draft = Draft()
    image = randn(2, 3, 6, 6)
    weight = draft.tensor("conv.weight", randn(4, 3, 3, 3).to(dtype))
    x = draft.call(aten.conv2d.default, draft.input("x", image.to(dtype)), weight)
    module = draft.module(draft.batch_norm(x, "bn", 4, dtype=dtype))
    exact = copy.deepcopy(module).double()(image.to(dtype).double())
    module, context = apply("fold-bn", module)
    assert context.statistics["folded"] == 1
    assert {tensor.dtype for tensor in module.state_dict().values()} == {dtype}
    error = (module(image.to(dtype)).double() - exact).abs().max() / exact.abs().max()
    assert error < tolerance


def test_a_scale_beyond_the_range_of_the_dtype_stays():
    draft = Draft()
    rows = randn(2, 3).half()
    weight = draft.tensor("fc.weight", torch.full((2, 3), 600.0).half())
    x = draft.call(aten.linear.default, draft.input("x", rows), weight)
    norm = draft.batch_norm(x, "bn", 2, dtype=torch.float16)
    module = draft.module(norm)
    module.bn.running_var.fill_(1e-6)
    module, context = apply("fold-bn", module)
    assert context.notes[0].startswith("%batch_norm: not folded, the folded weight is beyond the range of float16")


def test_what_else_nothing_reads_stays_and_trains():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)
            self.other = nn.BatchNorm2d(3)
            self.unread = nn.Linear(2, 2)

        def forward(self, x):
            return self.bn(self.conv(torch.relu(self.other(x))))

    model = with_statistics(Net())
    model.conv.weight.requires_grad_(False)
    result = fxc.compress(model, (torch.randn(2, 3, 5, 5),), "fold-bn")
    expected = {name for name in model.state_dict() if not name.startswith("bn.")} | {"conv.bias"}
    assert set(result.module.state_dict()) == expected
    assert not result.module.conv.bias.requires_grad
    module = result.module.train()
    module(torch.randn(2, 3, 5, 5)).square().sum().backward()
    assert module.other.weight.grad is not None


def test_the_diff_shows_the_layer_with_other_values_and_the_norm_gone():
    model = with_statistics(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    diff = fxc.compress(model, (torch.randn(2, 3, 5, 5),), "fold-bn").stages[0].diff
    assert [(entry.mark, entry.row.op) for entry in diff.changes] == [("~", "conv2d"), ("-", "batch_norm")]


def test_a_second_run_changes_nothing():
    model = with_statistics(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4)))
    first, second = fxc.compress(model, (torch.randn(2, 3, 5, 5),), "fold-bn,fold-bn").stages
    assert first.changed
    assert not second.changed
