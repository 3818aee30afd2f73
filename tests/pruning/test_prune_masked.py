"""prune{masked=true}: channels without effect go, and the smaller model gives what the masked original gives."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.errors import StepFailed


class Plain(nn.Module):
    """Two convolutions with a norm, pooled, and two linears; every layer has a bias."""

    def __init__(self, activation=nn.ReLU):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.next = nn.Conv2d(8, 12, 3)
        self.mid, self.head = nn.Linear(12, 16), nn.Linear(16, 5)
        self.activation = activation()

    def forward(self, x):
        x = self.activation(self.norm(self.conv(x)))
        x = self.activation(self.next(x)).mean((2, 3))
        return self.head(self.activation(self.mid(x)))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.up, self.down, self.head = nn.Linear(6, 8), nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x)
        return self.head(x + self.down(torch.nn.functional.gelu(self.up(x))))


def made(model):
    torch.manual_seed(0)
    model = model().eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            nn.init.normal_(layer.bias)
    return model


def without(model, **slots):
    """A copy in which whole rows (`conv=[0, 3]`) or columns (`head_in=[1]`) are zero; biases stay."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for name, places in slots.items():
            weight = getattr(model, name.removesuffix("_in")).weight
            weight.index_fill_(int(name.endswith("_in")), torch.tensor(places), 0)
    return model


def error(module, model, *inputs):
    """Relative error against the masked original in float64."""
    want = copy.deepcopy(model).double()(*[one.double() for one in inputs])
    return float(((module(*inputs).double() - want).norm() / want.norm()).detach())


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Sigmoid, nn.GELU])
def test_rows_that_are_masked_go_and_biases_take_up_what_they_gave(activation):
    model = without(made(lambda: Plain(activation)), next=[0, 3, 5], mid=[1, 2, 15])
    x = torch.randn(4, 3, 7, 7)
    result = fxc.compress(model, (x,), "prune{masked=true}")
    module = result.module
    assert module.next.weight.shape == (9, 8, 3, 3)
    assert module.mid.weight.shape == (13, 9)
    assert module.head.weight.shape == (5, 13)
    assert module.conv.weight.shape == (8, 3, 3, 3)
    fresh = torch.randn(6, 3, 7, 7)
    assert error(module, model, fresh) < 1e-6
    assert result.stages[0].details["removed"]["next.weight"][0] == [0, 3, 5]
    assert result.stages[0].details["proof"] < 1e-5


def test_columns_that_nobody_reads_take_what_computes_them_along():
    model = without(made(Plain), next_in=[2, 7], head_in=[0, 4])
    x = torch.randn(4, 3, 7, 7)
    module = fxc.compress(model, (x,), "prune{masked=true}").module
    assert module.conv.weight.shape == (6, 3, 3, 3)
    assert module.norm.weight.shape == (6,)
    assert module.mid.weight.shape == (14, 12)
    assert error(module, model, torch.randn(3, 3, 7, 7)) < 1e-6


def test_one_layer_after_the_other():
    """All rows of `mid` that read a channel go, so that the channel goes too."""
    model = made(Plain)
    with torch.no_grad():
        model.mid.weight[:, 3] = 0
        model.mid.weight[:10, 4] = 0
        model.mid.weight[10:] = 0
    x = torch.randn(2, 3, 7, 7)
    module = fxc.compress(model, (x,), "prune{masked=true}").module
    assert module.mid.weight.shape == (10, 10)
    assert error(module, model, x) < 1e-6


def test_what_has_an_effect_stays():
    """A batch norm gives a masked channel a shift, which a convolution that pads sees on its inside alone."""
    model = made(Plain)
    model.next.padding = (1, 1)
    model = without(model, conv=[0, 1])
    x = torch.randn(2, 3, 7, 7)
    result = fxc.compress(model, (x,), "prune{masked=true}")
    assert result.module.conv.weight.shape == (8, 3, 3, 3)
    assert not result.stages[0].changed
    whole = fxc.compress(made(Residual), (torch.randn(2, 6),), "prune{masked=true}")
    assert not whole.stages[0].changed


def test_inside_of_a_residual_block_and_beside_it():
    model = without(made(Residual), up=[0, 5, 6], stem=[1])
    x = torch.randn(3, 6)
    module = fxc.compress(model, (x,), "prune{masked=true}").module
    assert module.up.weight.shape == (13, 8)
    assert module.stem.weight.shape == (8, 6)
    assert error(module, model, torch.randn(5, 6)) < 1e-6


def test_behind_a_mask_the_masks_go_along():
    torch.manual_seed(0)
    model = made(Plain)
    with torch.no_grad():
        model.mid.weight[:5] *= 1e-3
    x = torch.randn(4, 3, 7, 7)
    masked = fxc.compress(model, (x,), "mask{threshold=0.01 targets=mid},mask{sparsity=0.2 targets=next}")
    result = fxc.compress(masked, None, "prune{masked=true}")
    module = result.module
    assert module.mid.weight.shape == (11, 12)
    torch.testing.assert_close(module(x), masked.module(x), rtol=1e-5, atol=1e-5)
    assert module.mid.weight_mask.shape == (11, 12)
    assert torch.equal(module.mid.weight_mask | (module.mid.weight == 0), torch.ones(11, 12, dtype=torch.bool))
    assert torch.equal(module.next.weight_mask, masked.module.next.weight_mask)


def test_one_slot_is_left():
    model = without(made(Plain), mid=list(range(16)))
    x = torch.randn(4, 3, 7, 7)
    module = fxc.compress(model, (x,), "prune{masked=true}").module
    assert module.mid.weight.shape[0] == 1
    assert error(module, model, x) < 1e-6


def test_a_layer_without_a_bias_gets_one():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Sigmoid(), nn.Linear(6, 3, bias=False)).eval()
    with torch.no_grad():
        model[0].weight[2] = 0
    x = torch.randn(5, 4)
    module = fxc.compress(model, (x,), "prune{masked=true}").module
    assert module.get_parameter("0.weight").shape == (5, 4)
    assert error(module, model, torch.randn(5, 4)) < 1e-6


@pytest.mark.parametrize("text", ["prune{masked=true macs=0.5}", "prune{masked=true ratios=mid:0.5}"])
def test_two_words_for_how_much(text):
    with pytest.raises(StepFailed, match="masked=true removes what is masked"):
        fxc.compress(made(Plain), (torch.randn(1, 3, 7, 7),), text)
