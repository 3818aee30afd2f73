"""fold-constants: the same numbers to the bit, names kept, gradients possible, and what must not be folded."""

from __future__ import annotations

import pytest
import torch
from nets import Draft, apply, operations
from torch import nn
from torch.nn import functional

import fxcompress as fxc
from fxcompress.graph.quantized import quantized_decomposed

aten = torch.ops.aten


class ByBatchNorm(nn.Conv2d):
    """Weight standardisation as timm's StdConv2d does it."""

    def forward(self, x):
        rows = self.weight.reshape(1, self.out_channels, -1)
        weight = functional.batch_norm(rows, None, None, training=True, momentum=0.0, eps=1e-6)
        return functional.conv2d(x, weight.reshape_as(self.weight), self.bias)


class ByVarMean(nn.Conv2d):
    """Weight standardisation by hand."""

    def forward(self, x):
        var, mean = torch.var_mean(self.weight, dim=[1, 2, 3], keepdim=True, unbiased=False)
        return functional.conv2d(x, (self.weight - mean) / torch.sqrt(var + 1e-5), self.bias)


class Scaled(nn.Conv2d):
    """Weight standardisation with a gain, as timm's ScaledStdConv2d does it."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.gain = nn.Parameter(torch.rand(self.out_channels, 1, 1, 1))

    def forward(self, x):
        rows = self.weight.reshape(1, self.out_channels, -1)
        gain = (self.gain * 0.3).view(-1)
        weight = functional.batch_norm(rows, None, None, weight=gain, training=True, momentum=0.0, eps=1e-6)
        return functional.conv2d(x, weight.reshape_as(self.weight), self.bias)


@pytest.mark.parametrize("layer", [ByBatchNorm, ByVarMean, Scaled])
@pytest.mark.parametrize("trainable", [True, False])
def test_weight_standardisation_becomes_a_weight(layer, trainable):
    model = nn.Sequential(layer(3, 4, 3), nn.ReLU()).eval()
    model.requires_grad_(trainable)
    image = torch.randn(2, 3, 5, 5)
    result = fxc.compress(model, (image,), "fold-constants")
    assert torch.equal(result.module(image), model(image))
    assert operations(result.module) == ["conv2d", "relu"]
    assert sorted(result.module.state_dict()) == ["0.bias", "0.weight"]
    assert result.stages[0].statistics["folded"] == 1
    assert list(result.stages[0].details["folded"].values()) == ["0.weight"]
    weight = result.module.get_parameter("0.weight")
    assert weight.requires_grad == trainable
    if trainable:
        result.module.train()(image).square().sum().backward()
        assert weight.grad.abs().sum() > 0


def test_parametrizations_give_their_weight_its_plain_name():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    nn.utils.parametrizations.weight_norm(model[0])
    nn.utils.parametrizations.spectral_norm(model[1])
    model.eval()
    rows = torch.randn(2, 4)
    result = fxc.compress(model, (rows,), "fold-constants")
    assert torch.equal(result.module(rows), model(rows))
    plain = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    plain.load_state_dict(result.module.state_dict())
    assert torch.equal(plain(rows), model(rows))


def test_a_shared_layer_stays_one_tensor_under_both_names():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = ByVarMean(3, 3, 1), ByVarMean(3, 3, 1)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(torch.relu(self.a(x)))

    model = Net().eval()
    image = torch.randn(2, 3, 4, 4)
    result = fxc.compress(model, (image,), "fold-constants")
    assert torch.equal(result.module(image), model(image))
    assert result.module.a.weight is result.module.b.weight
    assert set(result.module.state_dict()) == set(model.state_dict())
    # Both computations are one tensor now, which gets the sum of both gradients.
    assert operations(result.module) == ["conv2d", "relu", "conv2d"]


def test_two_results_of_one_parameter_get_two_names():
    draft = Draft()
    rows = torch.randn(2, 3)
    weight = draft.tensor("fc.weight", torch.randn(3, 3))
    x = draft.call(aten.linear.default, draft.input("x", rows), draft.call(aten.tanh.default, weight))
    x = draft.call(aten.linear.default, x, draft.call(aten.sigmoid.default, weight))
    module = draft.module(draft.call(aten.mul.Tensor, x, draft.call(aten.sum.default, weight)))
    before = module(rows)
    module, context = apply("fold-constants", module)
    assert torch.equal(module(rows), before)
    assert context.details["folded"] == {
        "tanh": "fc.weight",
        "sigmoid": "fc.weight_folded",
        "sum_1": "fc.weight_folded_1",
    }
    assert set(module.state_dict()) == {"fc.weight", "fc.weight_folded", "fc.weight_folded_1"}


def test_a_result_with_several_readers_is_stored_once():
    draft = Draft()
    rows = torch.randn(2, 3)
    weight = draft.tensor("fc.weight", torch.randn(3, 3))
    exp = draft.call(aten.exp.default, weight)
    x = draft.call(aten.linear.default, draft.input("x", rows), exp)
    x = draft.call(aten.linear.default, x, exp)
    module = draft.module(draft.call(aten.linear.default, x, draft.call(aten.neg.default, exp)))
    before = module(rows)
    module, context = apply("fold-constants", module)
    assert torch.equal(module(rows), before)
    assert context.statistics == {"folded": 2, "nodes": 2}
    assert set(module.state_dict()) == {"fc.weight", "fc.weight_folded"}


def shared_with_an_embedding(trainable):
    draft = Draft()
    ids = torch.tensor([[0, 2]])
    table = draft.tensor("table", nn.Parameter(torch.randn(4, 3), requires_grad=trainable))
    x = draft.call(aten.embedding.default, table, draft.input("ids", ids))
    return draft.module(draft.call(aten.linear.default, x, draft.call(aten.mul.Tensor, table, 0.5))), ids


def test_a_trainable_parameter_that_is_read_elsewhere_is_left_alone():
    module, ids = shared_with_an_embedding(trainable=True)
    before = module(ids)
    module, context = apply("fold-constants", module)
    assert torch.equal(module(ids), before)
    assert operations(module) == ["embedding", "mul", "linear"]
    assert context.notes == ["%mul: left alone, a parameter that it is computed from is read elsewhere too"]


def test_a_frozen_parameter_that_is_read_elsewhere_stays_beside_the_result():
    module, ids = shared_with_an_embedding(trainable=False)
    before, table = module(ids), module.table
    module, _ = apply("fold-constants", module)
    assert torch.equal(module(ids), before)
    assert operations(module) == ["embedding", "linear"]
    assert module.table is table
    assert set(module.state_dict()) == {"table", "table_folded"}


def test_gradients_that_were_stopped_stay_stopped():
    draft = Draft()
    rows = torch.randn(2, 3)
    weight = draft.call(aten.detach.default, draft.tensor("fc.weight", torch.randn(3, 3)))
    x = draft.call(aten.linear.default, draft.input("x", rows), draft.call(aten.exp.default, weight))
    module, _ = apply("fold-constants", draft.module(x))
    assert operations(module) == ["linear"]
    assert not module.fc.weight.requires_grad


class Positions(nn.Module):
    """A table of positions, a causal mask, and a table that the sizes alone give."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 4)
        self.register_buffer("steps", torch.arange(50), persistent=False)
        self.register_buffer("scale", torch.rand(4))

    def forward(self, x):
        length = x.shape[1]
        x = x * torch.exp(self.scale) + self.table(self.steps[:length])
        mask = torch.full((length, length), float("-inf")).triu(1)
        return torch.softmax(x @ x.transpose(1, 2) + mask, -1)


def test_positions_and_masks():
    model = Positions().eval()
    tokens = torch.randn(2, 5, 4)
    result = fxc.compress(model, (tokens,), "fold-constants")
    assert torch.equal(result.module(tokens), model(tokens))
    assert operations(result.module) == ["mul", "add", "transpose", "matmul", "add", "softmax"]
    # A table that was trained is trained on; what no parameter is in is a buffer, saved if what it is made of was.
    assert isinstance(result.module.get_parameter("table.weight_folded"), nn.Parameter)
    assert set(result.module.state_dict()) == {"table.weight_folded", "scale_folded"}
    other = torch.randn(3, 5, 4)
    assert torch.equal(result.module(other), model(other))


def test_frozen_batch_norm_by_hand():
    draft = Draft()
    image = torch.randn(2, 3, 4, 4)
    buffers = [
        draft.tensor(f"bn.{name}", torch.rand(3) + 0.5, buffer=True) for name in ("weight", "bias", "mean", "var")
    ]
    weight, bias, mean, var = (draft.call(aten.view.default, one, [1, -1, 1, 1]) for one in buffers)
    scale = draft.call(aten.mul.Tensor, weight, draft.call(aten.rsqrt.default, var))
    shift = draft.call(aten.sub.Tensor, bias, draft.call(aten.mul.Tensor, mean, scale))
    x = draft.call(aten.mul.Tensor, draft.input("x", image), scale)
    module = draft.module(draft.call(aten.add.Tensor, x, shift))
    before = module(image)
    module, _ = apply("fold-constants", module)
    assert torch.equal(module(image), before)
    assert operations(module) == ["mul", "add"]
    assert len(module.state_dict()) == 2


def test_bare_views_stay():
    draft = Draft()
    rows = torch.randn(2, 3)
    weight = draft.tensor("weight", torch.randn(3, 3))
    turned = draft.call(aten.permute.default, draft.call(aten.view.default, weight, [3, 3]), [1, 0])
    same_dtype = draft.call(aten.to.dtype, turned, torch.float32)
    module = draft.module(draft.call(aten.linear.default, draft.input("x", rows), same_dtype))
    module, context = apply("fold-constants", module)
    assert context.statistics == {"folded": 0, "nodes": 0}
    assert operations(module) == ["view", "permute", "to", "linear"]


def test_a_view_of_a_result_stays_a_view():
    draft = Draft()
    rows = torch.randn(2, 3)
    exp = draft.call(aten.exp.default, draft.tensor("weight", torch.randn(3, 3)))
    x = draft.call(aten.linear.default, draft.input("x", rows), exp)
    module = draft.module(draft.call(aten.linear.default, x, draft.call(aten.t.default, exp)))
    before = module(rows)
    module, _ = apply("fold-constants", module)
    assert torch.equal(module(rows), before)
    assert operations(module) == ["linear", "t", "linear"]
    assert set(module.state_dict()) == {"weight"}


def test_a_mask_that_every_layer_makes_anew_is_one():
    class Net(nn.Module):
        def forward(self, x):
            for _ in range(3):
                mask = torch.ones(5, 5).tril() == 0
                x = torch.softmax((x @ x.transpose(1, 2)).masked_fill(mask, -1e9), -1) @ x
            return x

    tokens = torch.randn(2, 5, 4)
    result = fxc.compress(Net(), (tokens,), "fold-constants{growth=25}")
    assert torch.equal(result.module(tokens), Net()(tokens))
    assert [tuple(buffer.shape) for buffer in result.module.buffers()] == [(5, 5)]
    assert result.stages[0].statistics["folded"] == 3


def test_what_expands_is_stored_before_it_does():
    draft = Draft()
    tokens = torch.randn(2, 5, 3)
    exp = draft.call(aten.exp.default, draft.tensor("row", torch.randn(1, 3)))
    wide = draft.call(aten.expand.default, exp, [5, 3])
    module = draft.module(draft.call(aten.add.Tensor, draft.input("x", tokens), wide))
    before = module(tokens)
    module, _ = apply("fold-constants", module)
    assert torch.equal(module(tokens), before)
    assert operations(module) == ["expand", "add"]
    assert module.row.shape == (1, 3)


def test_what_grows_too_much_is_stored_before_it_does():
    draft = Draft()
    column = draft.call(aten.exp.default, draft.tensor("column", torch.randn(64, 1)))
    table = draft.call(aten.mul.Tensor, column, draft.tensor("row", torch.randn(1, 64)))
    tokens = torch.randn(2, 64, 64)
    module = draft.module(draft.call(aten.add.Tensor, draft.input("x", tokens), table))
    before = module(tokens)
    module, context = apply("fold-constants{growth=1000}", module)
    assert torch.equal(module(tokens), before)
    assert operations(module) == ["mul", "add"]
    assert context.notes == ["%mul: left alone, it takes 15,872 bytes more than what it is made of"]
    module, context = apply("fold-constants{growth=15872}", module)
    assert operations(module) == ["add"]
    assert torch.equal(module(tokens), before)


def test_results_that_are_too_large_are_noted_once():
    draft = Draft()
    x = draft.input("x", torch.randn(2, 64, 64))
    for index in range(3):
        row = draft.tensor(f"{index}.row", torch.randn(1, 64))
        wide = draft.call(aten.mul.Tensor, row, draft.tensor(f"{index}.column", torch.randn(64, 1)))
        x = draft.call(aten.add.Tensor, x, draft.call(aten.exp.default, wide))
    module, context = apply("fold-constants{growth=1000}", draft.module(x))
    assert operations(module).count("exp") == 3
    assert context.notes == ["%exp, %exp_1, %exp_2: left alone, it takes 15,872 bytes more than what it is made of"]


def random_numbers(draft, weight):
    return draft.call(aten.mul.Tensor, weight, draft.call(aten.rand.default, [3, 3]))


def dropout_that_is_always_on(draft, weight):
    return draft.call(aten.dropout.default, weight, 0.5, True)


def dropout_that_follows_the_mode(draft, weight):
    return draft.call(aten.dropout.default, weight, 0.5, False)


def fresh_memory(draft, weight):
    return draft.call(aten.empty_like.default, weight)


def dequantized(draft, weight):
    integers = draft.tensor("integers", torch.ones(3, 3, dtype=torch.int8), buffer=True)
    scale = draft.tensor("scale", torch.ones(3), buffer=True)
    target = quantized_decomposed().dequantize_per_channel.default
    return draft.call(aten.t.default, draft.call(target, integers, scale, None, 0, -127, 127, torch.int8))


@pytest.mark.parametrize(
    "make", [random_numbers, dropout_that_is_always_on, dropout_that_follows_the_mode, fresh_memory, dequantized]
)
def test_what_is_not_constant_or_must_not_be(make):
    draft = Draft()
    rows = torch.randn(2, 3)
    weight = make(draft, draft.tensor("weight", torch.randn(3, 3)))
    module = draft.module(draft.call(aten.linear.default, draft.input("x", rows), weight))
    for node in module.graph.nodes:
        if node.target is aten.dropout.default and node.args[2]:
            node.meta["always_training"] = True
    expected = operations(module)
    module, context = apply("fold-constants", module)
    assert operations(module) == expected
    assert context.statistics == {"folded": 0, "nodes": 0}


def test_memory_that_the_graph_writes_into_is_not_constant():
    draft = Draft()
    rows = torch.randn(2, 3)
    x = draft.input("x", rows)
    counter = draft.tensor("counter", torch.zeros(3), buffer=True)
    doubled = draft.call(aten.mul.Tensor, counter, 2.0)
    y = draft.call(aten.add.Tensor, x, doubled)
    draft.call(aten.add_.Tensor, draft.call(aten.view.default, counter, [3]), 1.0)
    module, context = apply("fold-constants", draft.module(y))
    assert context.statistics["folded"] == 0
    first, second = module(rows), module(rows)
    assert torch.equal(second, first + 2)


def test_running_statistics_are_not_constant():
    draft = Draft()
    rows = torch.randn(4, 3)
    x = draft.batch_norm(draft.input("x", rows), "bn", 3, dtype=torch.float32)
    scale = draft.call(aten.sqrt.default, draft.tensor("bn.running_var", torch.zeros(3), buffer=True))
    module, context = apply("fold-constants", draft.module(draft.call(aten.mul.Tensor, x, scale)))
    assert context.statistics["folded"] == 0
    assert "sqrt" in operations(module)


def test_what_nothing_reads_stays():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.unread = ByVarMean(3, 4, 3), nn.BatchNorm1d(3)

        def forward(self, x):
            return self.conv(x)

    model = Net().eval()
    stage = fxc.compress(model, (torch.randn(1, 3, 4, 4),), "fold-constants")
    assert set(stage.module.state_dict()) == set(model.state_dict())


def test_nothing_to_do_changes_nothing():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    first = fxc.compress(model, (torch.randn(2, 3, 5, 5),), "fold-constants").stages[0]
    assert not first.changed
    assert first.diff.empty
    again = fxc.compress(ByVarMean(3, 4, 3).eval(), (torch.randn(2, 3, 5, 5),), "fold-constants,fold-constants")
    assert [stage.changed for stage in again.stages] == [True, False]
