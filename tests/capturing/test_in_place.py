"""Writes that nobody can see become out-of-place calls, the others stay and are named."""

from __future__ import annotations

import models
import pytest
import torch
from comparing import assert_same, target_names
from torch import nn

import fxcompress as fxc
from fxcompress.capturing.in_place import twin_of
from fxcompress.graph import nodes

aten = torch.ops.aten


def captured_function(function, *given):
    class Wrapped(nn.Module):
        def forward(self, *args):
            return function(*args)

    model = Wrapped()
    captured = fxc.capture(model, given)
    fresh = [torch.randn_like(tensor) for tensor in given]
    assert_same(captured(*[t.clone() for t in fresh]), model(*[t.clone() for t in fresh]))
    return captured


def writes(captured):
    return [node.name for node in captured.module.graph.nodes if nodes.writes(node)]


def test_nothing_in_place_is_left_in_the_model_of_views():
    captured = fxc.capture(models.InPlace(), models.rows(9)(4))
    assert writes(captured) == []
    assert captured.notes == ()


def relu_of_sum(x):
    return (x + 1).relu_()


def two_names_of_one_tensor(x):
    y = x + 1
    z = y.mul_(2)
    y.add_(1)
    return y, z


def older_view_read_later(x):
    y = x + 1
    row = y[0]
    y.mul_(2)
    return row, y


def view_of_view_written(x):
    y = x + 1
    y[1:, 1:][0].fill_(5.0)
    return y


def transposed(x):
    y = x + 1
    y.t()[1] = 7.0
    y.permute(1, 0)[0] += 1
    return y


def reshaped(x):
    y = x + 1
    y.view(-1)[3:5] = 2.0
    y.unsqueeze(0)[0, 0] = 1.0
    return y


def unbound(x):
    y = x + 1
    first, second, *rest = y.unbind(1)
    first.add_(second)
    return first, second, y, rest


def split_unevenly(x):
    y = x + 1
    a, b = y.split([1, 3], 1)
    a.zero_()
    b.exp_()
    return y, a * b


def loop(x):
    out = torch.zeros_like(x)
    for index in range(x.shape[1]):
        out[:, index] = x[:, index] * index
        out[:, index] += out[:, 0]
    return out


def gathered(x):
    y = x + 1
    y[torch.tensor([0, 2])] = 3.0
    y[y > 2] = 0.0
    y.index_add_(0, torch.tensor([1]), x[:1])
    y.scatter_(1, torch.zeros(4, 1, dtype=torch.long), 9.0)
    return y


def boolean(x):
    mask = x > 0
    mask &= x < 1
    mask |= x < -1
    return mask


def shapes_in_place(x):
    y = x + 1
    y.unsqueeze_(0).transpose_(1, 2)
    y.squeeze_(0).add_(1)
    return y, y.t_()


def copied(x):
    y = torch.empty(x.shape[0], 8)
    y[:, :4].copy_(x)
    y[:, 4:] = x * 2
    return y


@pytest.mark.parametrize(
    "function",
    [
        relu_of_sum,
        two_names_of_one_tensor,
        older_view_read_later,
        view_of_view_written,
        transposed,
        reshaped,
        unbound,
        split_unevenly,
        loop,
        gathered,
        boolean,
        shapes_in_place,
        copied,
    ],
    ids=lambda function: function.__name__,
)
def test_writes_are_replaced(function):
    captured = captured_function(function, torch.randn(4, 4))
    assert writes(captured) == []
    assert captured.notes == ()


def into_the_input(x):
    x.add_(1)
    return x * 2


def into_a_view_of_the_input(x):
    x[0] = 0.0
    return x * 2


def of_another_dtype(x):
    y = torch.ones_like(x, dtype=torch.float16)
    y += x
    return y


def strided(x):
    y = x + 1
    y.as_strided((2, 2), (4, 1)).zero_()
    return y


def resized(x):
    y = x.clone()
    y.resize_(2, 2)
    return y + 1


@pytest.mark.parametrize(
    "function",
    [into_the_input, into_a_view_of_the_input, of_another_dtype, strided],
    ids=lambda function: function.__name__,
)
def test_writes_that_may_be_seen_stay_and_are_named(function):
    captured = captured_function(function, torch.randn(4, 4))
    (name,) = writes(captured)
    assert any(f"%{name}" in note for note in captured.notes)


def test_the_input_is_changed_as_the_original_changes_it():
    captured = captured_function(into_a_view_of_the_input, torch.randn(4, 4))
    x, y = torch.ones(4, 4), torch.ones(4, 4)
    captured(x)
    into_a_view_of_the_input(y)
    assert torch.equal(x, y)


def test_a_buffer_and_a_parameter_are_changed_as_the_original_changes_them():
    original = models.Writer()
    captured = fxc.capture(original, models.rows(4)(2))
    assert any("stays wrapped" in note for note in captured.notes)
    for _ in range(3):
        x = torch.randn(2, 4)
        assert_same(captured(x.clone()), original(x.clone()))
    assert_same(dict(captured.module.state_dict()), dict(original.state_dict()))


def test_dropout_in_evaluation_mode_gives_its_very_input():
    class Dropped(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            y = x + 1
            z = self.drop(y)
            z.mul_(2)
            return y, z

    model = Dropped().eval()
    captured = fxc.capture(model, (torch.randn(3, 4),))
    x = torch.randn(3, 4)
    assert_same(captured(x), model(x))


@pytest.mark.parametrize("autocast", [True, False])
def test_autocast_is_inlined_where_it_is_off(autocast):
    class Cast(nn.Module):
        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                return torch.mm(x, x.t())

    captured = fxc.capture(Cast(), (torch.randn(3, 4),))
    x = torch.randn(3, 4)
    assert_same(captured(x), Cast()(x))
    assert any("wrap_with_autocast" in target for target in target_names(captured.module)) == autocast
    assert bool(captured.notes) == autocast


def test_twins():
    assert twin_of(aten.relu_.default) is aten.relu.default
    assert twin_of(aten.add_.Tensor) is aten.add.Tensor
    assert twin_of(aten.__iand__.Tensor) is aten.bitwise_and.Tensor
    assert twin_of(aten.fill_.Tensor) is aten.fill.Tensor
    assert twin_of(aten.dropout_.default) is aten.dropout.default
    assert twin_of(aten.resize_.default) is None
    assert twin_of(aten.set_.source_Tensor) is None
