"""merge against the original model in float64: duplicates go, nothing changes; what is not the same stays."""

from __future__ import annotations

import pytest
import torch
from nets import Draft, apply, with_statistics
from torch import nn
from torch.nn import functional as F

import fxcompress as fxc
from fxcompress.passes.merge import Merge

aten = torch.ops.aten


def doubled(model, inputs):
    """The model in float64 with random batch norm statistics, and inputs."""
    return with_statistics(model).double(), tuple(one.double() for one in inputs)


def duplicate(layer, kept, removed, scale=1.0, norm=None):
    """Make the neuron `removed` of a layer, and of a batch norm behind it, `scale` times the neuron `kept`."""
    tensors = [layer.weight, layer.bias, *([norm.weight, norm.bias] if norm is not None else [])]
    with torch.no_grad():
        for tensor in tensors if norm is None else []:
            if tensor is not None:
                tensor[removed] = scale * tensor[kept]
        if norm is not None:
            layer.weight[removed] = layer.weight[kept]
            if layer.bias is not None:
                layer.bias[removed] = layer.bias[kept]
            norm.weight[removed], norm.bias[removed] = scale * norm.weight[kept], scale * norm.bias[kept]
            norm.running_mean[removed], norm.running_var[removed] = norm.running_mean[kept], norm.running_var[kept]


def merged(model, inputs, text="merge{similarity=1}"):
    """Run merge and check the output against the model's."""
    result = fxc.compress(model, inputs, text)
    with torch.no_grad():
        want, got = model(*inputs), result.module(*inputs)
    assert torch.allclose(got, want, rtol=1e-10, atol=1e-10), float((got - want).abs().max())
    return result.module, result.stages[0]


def places(stage, name):
    return {(kept, removed, round(scale, 9)) for kept, removed, scale in stage.details["merged"].get(name, ())}


class Perceptron(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.up, self.mid, self.down, self.act = nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(6, 3), act

    def forward(self, x):
        return self.down(self.act(self.mid(self.act(self.up(x)))))


@pytest.mark.parametrize("act", [F.relu, F.gelu, torch.sigmoid, F.silu, torch.tanh, F.leaky_relu, F.relu6])
def test_duplicates_of_a_perceptron(act):
    model, inputs = doubled(Perceptron(act), (torch.randn(7, 5),))
    duplicate(model.up, 1, 4)
    duplicate(model.up, 1, 6)
    duplicate(model.mid, 0, 5)
    module, stage = merged(model, inputs)
    assert places(stage, "up.weight:0") == {(1, 4, 1.0), (1, 6, 1.0)}
    assert places(stage, "mid.weight:0") == {(0, 5, 1.0)}
    assert (module.up.weight.shape, module.mid.weight.shape, module.down.weight.shape) == ((6, 5), (5, 6), (3, 5))
    assert stage.statistics == {"merged": 3, "groups": 2}
    assert model.up.weight.shape == (8, 5)


@pytest.mark.parametrize(("act", "holds"), [(F.relu, True), (F.leaky_relu, True), (F.gelu, False), (F.silu, False)])
def test_a_scaled_duplicate(act, holds):
    model, inputs = doubled(Perceptron(act), (torch.randn(7, 5),))
    duplicate(model.up, 2, 3, scale=2.5)
    module, stage = merged(model, inputs)
    assert places(stage, "up.weight:0") == ({(2, 3, 2.5)} if holds else set())
    assert module.up.weight.shape == (7 if holds else 8, 5)


def test_a_negative_multiple_is_none():
    model, inputs = doubled(Perceptron(F.relu), (torch.randn(7, 5),))
    duplicate(model.up, 2, 3, scale=-1.0)
    _, stage = merged(model, inputs)
    assert stage.details["merged"] == {}


def test_duplicates_come_to_be_where_a_layer_before_them_is_merged():
    # Both rows of `mid` read the two duplicates with other weights, and the same in sum.
    model, inputs = doubled(Perceptron(F.gelu), (torch.randn(7, 5),))
    duplicate(model.up, 0, 1)
    duplicate(model.mid, 0, 1)
    with torch.no_grad():
        model.mid.weight[1, 0] += 0.3
        model.mid.weight[1, 1] -= 0.3
    module, stage = merged(model, inputs, "merge{similarity=0.9999999}")
    assert places(stage, "mid.weight:0") == {(0, 1, 1.0)}
    assert module.mid.weight.shape == (5, 7)


class Convolutions(nn.Module):
    """Batch norm, a depthwise convolution, pooling, and channels flattened with their positions."""

    def __init__(self, bias=False):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1, bias=bias), nn.BatchNorm2d(8)
        self.deep, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=bias), nn.BatchNorm2d(8)
        self.conv2, self.bn3 = nn.Conv2d(8, 6, 3, stride=2, bias=bias), nn.BatchNorm2d(6)
        self.head = nn.Linear(6 * 4, 5)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.deep(x)))
        x = F.max_pool2d(F.relu(self.bn3(self.conv2(x))), 2)
        return self.head(x.flatten(1))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_convolutions_with_batch_norm(bias, scale):
    model, inputs = doubled(Convolutions(bias), (torch.randn(2, 3, 10, 10),))
    duplicate(model.conv2, 1, 4, scale, norm=model.bn3)
    duplicate(model.conv1, 0, 7, norm=model.bn1)
    duplicate(model.deep, 0, 7, norm=model.bn2)
    module, stage = merged(model, inputs)
    assert places(stage, "conv2.weight:0") == {(1, 4, scale)}
    assert places(stage, "conv1.weight:0") == {(0, 7, 1.0)}
    assert module.conv1.weight.shape[0] == module.deep.weight.shape[0] == module.conv2.weight.shape[1] == 7
    assert module.head.weight.shape == (5, 20)
    x = torch.randn(3, 3, 10, 10, dtype=torch.float64)
    assert torch.allclose(module(x), model(x), rtol=1e-10, atol=1e-10)


def test_folded_batch_norms_make_other_weights_parallel():
    # Weights that are multiples, and statistics that take the factor out again: the same neuron, behind the norm.
    model, inputs = doubled(Convolutions(), (torch.randn(2, 3, 10, 10),))
    duplicate(model.conv2, 1, 4, norm=model.bn3)
    with torch.no_grad():
        model.conv2.weight[4] *= 10
        model.bn3.running_mean[4] *= 10
        model.bn3.running_var[4] = (model.bn3.running_var[4] + model.bn3.eps) * 100 - model.bn3.eps
    _, stage = merged(model, inputs)
    assert places(stage, "conv2.weight:0") == {(1, 4, 1.0)}


@pytest.mark.parametrize("name", ["weight", "bias", "running_mean", "running_var"])
def test_another_batch_norm_is_another_neuron(name):
    model, inputs = doubled(Convolutions(), (torch.randn(2, 3, 10, 10),))
    for layer, norm in ((model.conv2, model.bn3), (model.conv1, model.bn1)):
        duplicate(layer, 1, 4, norm=norm)
        with torch.no_grad():
            getattr(norm, name)[4] += 0.5
    _, stage = merged(model, inputs)
    assert stage.details["merged"] == {}


def test_another_depthwise_filter_is_another_neuron():
    model, inputs = doubled(Convolutions(), (torch.randn(2, 3, 10, 10),))
    duplicate(model.conv1, 0, 7, norm=model.bn1)
    _, stage = merged(model, inputs)
    assert stage.details["merged"] == {}
    assert any("the nearest two have a cosine of" in note for note in stage.notes)


class TwoPaths(nn.Module):
    """The first half of the channels through relu, the second through gelu."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x):
        one, other = self.up(x).chunk(2, -1)
        return self.down(torch.cat([F.relu(one), F.gelu(other)], -1))


def test_another_activation_is_another_neuron():
    model, inputs = doubled(TwoPaths(), (torch.randn(5, 4),))
    duplicate(model.up, 0, 4)
    duplicate(model.up, 1, 2)
    duplicate(model.up, 5, 7)
    module, stage = merged(model, inputs)
    assert places(stage, "up.weight:0.0") == {(1, 2, 1.0)}
    assert places(stage, "up.weight:0.1") == {(1, 3, 1.0)}
    assert module.up.weight.shape == (6, 4)


class Gated(nn.Module):
    """silu(gate) * up, as in language models: a factor may stand in `up` alone."""

    def __init__(self):
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 4, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


@pytest.mark.parametrize(("gate", "up", "found"), [(1.0, 2.0, True), (1.0, 1.0, True), (2.0, 1.0, False)])
def test_gates_are_the_same_and_values_are_multiples(gate, up, found):
    model, inputs = doubled(Gated(), (torch.randn(5, 4),))
    duplicate(model.gate, 1, 3, gate)
    duplicate(model.up, 1, 3, up)
    _, stage = merged(model, inputs)
    assert places(stage, "gate.weight:0") == ({(1, 3, up)} if found else set())


class Residual(nn.Module):
    """Two layers write the channels, and two read them."""

    def __init__(self):
        super().__init__()
        self.stem, self.inner, self.outer = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 6)
        self.head, self.other = nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = x + self.outer(torch.tanh(self.inner(x)))
        return self.head(x) + self.other(torch.sigmoid(x))


@pytest.mark.parametrize(("stem", "outer", "found"), [(1.0, 1.0, True), (1.0, None, False), (2.0, 2.0, False)])
def test_all_that_writes_a_channel_has_to_agree(stem, outer, found):
    model, inputs = doubled(Residual(), (torch.randn(5, 4),))
    duplicate(model.stem, 1, 3, stem)
    if outer is not None:
        duplicate(model.outer, 1, 3, outer)
    _, stage = merged(model, inputs)
    assert places(stage, "stem.weight:0") == ({(1, 3, 1.0)} if found else set())


class Transformer(nn.Module):
    def __init__(self, width=8, heads=2):
        super().__init__()
        self.heads = heads
        self.embed = nn.Linear(6, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        x = self.embed(x)
        n, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, length, width)
        x = x + self.proj(mixed)
        x = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return self.head(x.mean(1))


def test_the_perceptrons_of_a_transformer():
    model, inputs = doubled(Transformer(), (torch.randn(2, 5, 6),))
    duplicate(model.fc1, 3, 9)
    duplicate(model.fc1, 3, 31)
    duplicate(model.embed, 0, 1)  # The norm layers look at all of the channels.
    module, stage = merged(model, inputs)
    assert stage.details["merged"] == {"fc1.weight:0": [(3, 9, 1.0), (3, 31, 1.0)]}
    assert module.fc1.weight.shape == (30, 8)
    assert any("embed.weight:0" in note and "normalises over them" in note for note in stage.notes)
    assert any("qkv.weight:0" in note and "left alone" in note for note in stage.notes)


def test_heads_that_do_the_same_are_merged():
    model, inputs = doubled(Transformer(), (torch.randn(2, 5, 6),))
    with torch.no_grad():
        for tensor in (model.qkv.weight, model.qkv.bias):
            heads = tensor.view(3, 2, 4, *tensor.shape[1:])
            heads[:, 1] = heads[:, 0]
    module, stage = merged(model, inputs)
    (pairs,) = stage.details["merged"].values()
    assert pairs == [(0, 1, 1.0)]
    assert module.qkv.weight.shape == (12, 8)
    assert module.proj.weight.shape == (8, 4)


def test_a_tied_weight_that_reads_and_writes_the_channels_is_left_alone():
    draft = Draft()
    ids = torch.arange(4)
    table = draft.tensor("table", torch.randn(9, 6, dtype=torch.float64))
    module = draft.module(
        draft.call(aten.linear.default, draft.call(aten.embedding.default, table, draft.input("ids", ids)), table)
    )
    with torch.no_grad():
        module.table[:, 4] = module.table[:, 2]
    module, context = apply("merge", module)
    assert module.table.shape == (9, 6)
    assert context.notes == ["table:1: left alone, table both reads and computes them"]


def test_near_neurons_are_merged_by_similarity():
    model, inputs = doubled(Perceptron(F.relu), (torch.randn(7, 5),))
    duplicate(model.up, 1, 4)
    with torch.no_grad():
        model.up.weight[4] += 1e-3 * torch.randn(5)
    strict = fxc.compress(model, inputs, "merge{similarity=0.9999999999}").stages[0]
    loose = fxc.compress(model, inputs, "merge")
    assert strict.details["merged"] == {}
    (found,) = loose.stages[0].details["merged"]["up.weight:0"]
    assert found[:2] == (1, 4)
    assert torch.allclose(loose.module(*inputs), model(*inputs), atol=1e-2)


def test_nothing_parallel_changes_nothing_and_says_so():
    model, inputs = doubled(Perceptron(F.relu), (torch.randn(7, 5),))
    result = fxc.compress(model, inputs, "merge{similarity=1}")
    assert not result.stages[0].changed
    assert result.stages[0].statistics == {"merged": 0, "groups": 0}
    (note,) = result.stages[0].notes
    rows = [torch.cat([one.weight, one.bias[:, None]], 1).detach() for one in (model.up, model.mid)]
    cosines = [F.cosine_similarity(one[:, None], one[None], dim=-1).fill_diagonal_(-1) for one in rows]
    assert (
        note == f"no neurons are parallel: the nearest two have a cosine of {float(max(map(torch.max, cosines))):.4f}"
    )


def test_targets_and_ignore():
    model, inputs = doubled(Perceptron(F.relu), (torch.randn(7, 5),))
    duplicate(model.up, 1, 4)
    duplicate(model.mid, 0, 5)
    assert set(merged(model, inputs, "merge{targets=up}")[1].details["merged"]) == {"up.weight:0"}
    assert set(merged(model, inputs, "merge{ignore=down}")[1].details["merged"]) == {"up.weight:0"}
    assert merged(model, inputs, "merge{ignore=mid}")[1].details["merged"] == {}


def test_a_gathered_fan_out_is_followed_to_every_reader():
    # Concatenation, padding and pooling stand between; a convolution and a linear read the channels.
    class Fan(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(2, 4, 3), nn.Conv2d(2, 3, 3)
            self.read, self.flat = nn.Conv2d(7, 2, 1), nn.Linear(7, 2)

        def forward(self, x):
            x = torch.cat([F.relu(self.one(x)), self.two(x)], 1)
            return self.read(F.pad(F.avg_pool2d(x, 2), (1, 1))).mean((2, 3)) + self.flat(x.mean((2, 3)))

    model, inputs = doubled(Fan(), (torch.randn(2, 2, 8, 8),))
    duplicate(model.one, 0, 3, 2.0)
    duplicate(model.two, 0, 2, 0.5)
    module, stage = merged(model, inputs)
    assert places(stage, "one.weight:0") == {(0, 3, 2.0)}
    assert places(stage, "two.weight:0") == {(0, 2, 0.5)}
    assert module.read.weight.shape[1] == module.flat.weight.shape[1] == 5


def test_what_the_model_returns_too_is_left_alone():
    class Tapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(5, 8), nn.Linear(8, 3)

        def forward(self, x):
            x = F.relu(self.up(x))
            return x, self.down(x)

    model, inputs = doubled(Tapped(), (torch.randn(7, 5),))
    duplicate(model.up, 1, 4)
    result = fxc.compress(model, inputs, "merge")
    assert all(torch.equal(got, want) for got, want in zip(result.module(*inputs), model(*inputs), strict=True))
    assert result.stages[0].details["merged"] == {}


def test_channels_that_an_index_takes_one_by_one_are_left_alone():
    class Shuffled(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(5, 6), nn.Linear(6, 3)
            self.register_buffer("order", torch.tensor([3, 0, 5, 1, 4, 2]))

        def forward(self, x):
            return self.down(F.relu(self.up(x)).index_select(1, self.order))

    model, inputs = doubled(Shuffled(), (torch.randn(7, 5),))
    duplicate(model.up, 1, 4)
    _, stage = merged(model, inputs)
    assert stage.details["merged"] == {}
    assert any("a constant index takes its channels one by one" in note for note in stage.notes)


def test_thousands_of_neurons():
    draft = Draft()
    x = draft.input("x", torch.randn(3, 16))
    hidden = draft.call(
        aten.relu.default, draft.call(aten.linear.default, x, draft.tensor("up", torch.randn(2048, 16)))
    )
    module = draft.module(draft.call(aten.linear.default, hidden, draft.tensor("down", torch.randn(4, 2048))))
    with torch.no_grad():
        module.up[1024:] = module.up[:1024] * 2
        given = torch.randn(5, 16)
        want = module(given)
    module, context = apply("merge{similarity=1}", module)
    assert context.details["merged"]["up:0"] == [(i, i + 1024, 2.0) for i in range(1024)]
    assert torch.allclose(module(given), want, rtol=1e-4, atol=1e-3)


def test_contract():
    def small():
        model = Perceptron(F.relu)
        duplicate(model.up, 1, 4)
        return model.eval()

    report = fxc.testing.check_pass(Merge(), [(small(), (torch.randn(4, 5),))])
    assert report.changed
