"""mask by data and gradients, against the methods written out in NumPy and plain PyTorch."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.errors import StepFailed
from fxcompress.sparsity import masks_of


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(12, 16), nn.Linear(16, 8, bias=False)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Net().double().eval()


@pytest.fixture
def batches():
    """Inputs whose features are correlated, and of different sizes."""
    torch.manual_seed(1)
    mixing = torch.randn(12, 12, dtype=torch.float64) * torch.logspace(-1, 1, 12, dtype=torch.float64)
    return [(torch.randn(40, 12, dtype=torch.float64) @ mixing,) for _ in range(3)]


def compress(model, batches, text, **given):
    return fxc.compress(model, batches[0], text, calibration=batches, **given)


def rows_without_smallest(scores, share):
    """Bool of the shape of `scores`: in every row without the `round(share * width)` smallest."""
    keep = np.ones(scores.shape, bool)
    for row, scored in zip(keep, scores, strict=True):
        row[np.argsort(scored, kind="stable")[: round(share * len(scored))]] = False
    return keep


def test_wanda_ranks_each_output_behind_layers_that_are_masked(model, batches):
    module = compress(model, batches, "mask{importance=wanda}").module
    x = torch.cat([one for (one,) in batches]).numpy()
    first = model.first.weight.detach().numpy()
    keep = rows_without_smallest(np.abs(first) * np.linalg.norm(x, axis=0), 0.5)
    hidden = np.tanh(x @ (first * keep).T + model.first.bias.detach().numpy())
    second = model.second.weight.detach().numpy()
    after = rows_without_smallest(np.abs(second) * np.linalg.norm(hidden, axis=0), 0.5)
    assert np.array_equal(module.first.weight_mask.numpy(), keep)
    assert np.array_equal(module.second.weight_mask.numpy(), after)
    assert np.array_equal(module.second.weight.detach().numpy(), second * after)


def test_wanda_over_all_weights_ranks_what_unmasked_layers_give(model, batches):
    module = compress(model, batches, "mask{importance=wanda scope=global sparsity=0.4}").module
    x = torch.cat([one for (one,) in batches]).numpy()
    first, second = model.first.weight.detach().numpy(), model.second.weight.detach().numpy()
    hidden = np.tanh(x @ first.T + model.first.bias.detach().numpy())
    scores = [np.abs(first) * np.linalg.norm(x, axis=0), np.abs(second) * np.linalg.norm(hidden, axis=0)]
    flat = np.concatenate([one.ravel() for one in scores])
    gone = np.zeros(len(flat), bool)
    gone[np.argsort(flat)[: round(0.4 * len(flat))]] = True
    assert np.array_equal(~gone[: first.size].reshape(first.shape), module.first.weight_mask.numpy())
    assert np.array_equal(~gone[first.size :].reshape(second.shape), module.second.weight_mask.numpy())


def surgeon(weight, x, damping, choose):
    """SparseGPT as the paper writes it: the inverse of what is left of the Hessian, anew for every column."""
    weight, keep = weight.copy(), np.ones(weight.shape, bool)
    hessian = x.T @ x
    hessian += damping * np.mean(np.diag(hessian)) * np.eye(len(hessian))
    for column in range(weight.shape[1]):
        inverses = [np.linalg.inv(hessian[start:, start:]) for start in range(column, weight.shape[1])]
        costs = np.stack([weight[:, column + i] ** 2 / one[0, 0] for i, one in enumerate(inverses)], 1)
        choose(column, costs, keep)
        error = np.where(keep[:, column], 0, weight[:, column]) / inverses[0][0, 0]
        weight[:, column:] -= error[:, None] * inverses[0][0]
        weight[~keep] = np.where(np.arange(weight.shape[1]) <= column, 0, weight)[~keep]
    return weight * keep, keep


def test_sparsegpt_two_of_four(model, batches):
    def choose(column, costs, keep):
        if column % 4 == 0:
            keep[:, column : column + 4] = rows_without_smallest(costs[:, :4], 0.5)

    module = compress(model, batches, "mask{importance=sparsegpt pattern=2:4}").module
    x = torch.cat([one for (one,) in batches]).numpy()
    first, keep = surgeon(model.first.weight.detach().numpy(), x, 0.01, choose)
    assert np.array_equal(module.first.weight_mask.numpy(), keep)
    np.testing.assert_allclose(module.first.weight.detach().numpy(), first, rtol=1e-6, atol=1e-9)
    hidden = np.tanh(x @ first.T + model.first.bias.detach().numpy())
    second, keep = surgeon(model.second.weight.detach().numpy(), hidden, 0.01, choose)
    assert np.array_equal(module.second.weight_mask.numpy(), keep)
    np.testing.assert_allclose(module.second.weight.detach().numpy(), second, rtol=1e-6, atol=1e-9)


def test_sparsegpt_unstructured(model, batches):
    def choose(column, costs, keep):
        if column == 0:
            keep[:] = rows_without_smallest(costs.reshape(1, -1), 0.6).reshape(costs.shape)

    module = compress(model, batches, "mask{importance=sparsegpt sparsity=0.6 targets=first}").module
    x = torch.cat([one for (one,) in batches]).numpy()
    first, keep = surgeon(model.first.weight.detach().numpy(), x, 0.01, choose)
    assert np.array_equal(module.first.weight_mask.numpy(), keep)
    np.testing.assert_allclose(module.first.weight.detach().numpy(), first, rtol=1e-6, atol=1e-9)


def layer_error(module, model, x):
    """The squared error of the first layer's outputs, relative."""
    want = model.first(x)
    masked = x @ module.first.weight.detach().T + model.first.bias
    return float(((masked - want).square().sum() / (want - model.first.bias).square().sum()).detach())


@pytest.mark.parametrize("pattern", ["unstructured", "2:4", "4:8", "block:4x2"])
def test_the_order_of_the_papers(model, batches, pattern):
    """On correlated inputs of different sizes: what the Hessian chooses loses less than norms, and these than none."""
    x = torch.cat([one for (one,) in batches])
    errors = {
        one: layer_error(compress(model, batches, f"mask{{pattern={pattern} importance={one}}}").module, model, x)
        for one in ("sparsegpt", "wanda", "magnitude", "random")
    }
    assert errors["sparsegpt"] < errors["wanda"] < errors["magnitude"] < errors["random"], errors


def test_sparsegpt_convolutions_in_groups_beat_wanda():
    torch.manual_seed(0)
    model = nn.Conv2d(8, 12, 3, groups=2, padding=1).double().eval()
    smooth = [(torch.randn(4, 8, 9, 9, dtype=torch.float64).cumsum(2).cumsum(3),) for _ in range(2)]
    errors = {}
    for one in ("sparsegpt", "wanda", "magnitude"):
        module = fxc.compress(model, smooth[0], f"mask{{importance={one} pattern=2:4}}", calibration=smooth).module
        weight = module.get_parameter("weight")
        groups = weight.detach().reshape(12, -1, 4)
        assert bool((groups.ne(0).sum(2) <= 2).all())
        errors[one] = float(sum((module(*x) - model(*x)).square().sum().detach() for x in smooth))
    assert errors["sparsegpt"] < errors["wanda"] < errors["magnitude"], errors


def train_data(batches):
    torch.manual_seed(2)
    return fxc.TrainingData([(one, torch.randn(40, 8, dtype=torch.float64)) for one in batches], nn.functional.mse_loss)


def test_taylor(model, batches):
    data = train_data(batches)
    module = compress(model, batches, "mask{importance=taylor}", train=data).module
    other = copy.deepcopy(model)
    sum(data.loss(other(*x), y) for x, y in data.batches).backward()
    for name in ("first", "second"):
        weight = getattr(other, name).weight
        scores = (weight * weight.grad).abs().detach().numpy().reshape(1, -1)
        keep = rows_without_smallest(scores, 0.5).reshape(weight.shape)
        assert np.array_equal(module.state_dict()[f"{name}.weight_mask"].numpy(), keep)


def test_movement(model, batches):
    data = train_data(batches)
    module = compress(model, batches, "mask{importance=movement learning_rate=0.01}", train=data).module
    other, scores = copy.deepcopy(model), {}
    optimizer = torch.optim.Adam(other.parameters(), lr=0.01)
    for x, y in data.batches:
        optimizer.zero_grad()
        data.loss(other(*x), y).backward()
        for name in ("first", "second"):
            weight = getattr(other, name).weight
            scores[name] = scores.get(name, 0) - (weight * weight.grad).detach()
        optimizer.step()
    for name, score in scores.items():
        keep = rows_without_smallest(score.numpy().reshape(1, -1), 0.5).reshape(score.shape)
        weight = getattr(other, name).weight.detach().numpy()
        assert np.array_equal(module.state_dict()[f"{name}.weight_mask"].numpy(), keep)
        np.testing.assert_allclose(module.state_dict()[f"{name}.weight"].numpy(), weight * keep, rtol=1e-9, atol=1e-12)


def test_random_follows_the_seed(model, batches):
    one, same, other = (compress(model, batches, "mask{importance=random}", seed=seed).module for seed in (0, 0, 1))
    assert torch.equal(one.first.weight_mask, same.first.weight_mask)
    assert not torch.equal(one.first.weight_mask, other.first.weight_mask)
    assert int((~one.first.weight_mask).sum()) == 96


@pytest.mark.parametrize("schedule", ["cubic", "linear"])
def test_masks_grow_with_the_steps_and_hold_in_training(schedule):
    """Of a linear without a bias, given the unit matrix, the results are the weights: the loss sees the zeros."""
    torch.manual_seed(0)
    model = nn.Linear(16, 20, bias=False).eval()
    seen = []

    def loss(outputs, targets):
        seen.append(int((outputs == 0).sum()))
        return (outputs - targets).square().mean()

    data = fxc.TrainingData([((torch.eye(16),), torch.randn(16, 20))] * 2, loss)
    text = f"mask{{sparsity=0.8 steps=4 schedule={schedule} learning_rate=0.1}}"
    result = fxc.compress(model, (torch.eye(16),), text, train=data)
    shares = {"cubic": [37 / 64, 56 / 64, 63 / 64], "linear": [1 / 4, 2 / 4, 3 / 4]}[schedule]
    assert seen == [round(0.8 * share * 320) for share in shares for _ in range(2)]
    assert int((result.module(torch.eye(16)) == 0).sum()) == 256
    assert int((~result.module.weight_mask).sum()) == 256
    assert len(result.stages[0].notes) == 3


def test_n_of_m_in_steps():
    torch.manual_seed(0)
    model, seen = nn.Linear(16, 20, bias=False).eval(), []

    def loss(outputs, targets):
        seen.append(int((outputs == 0).sum()))
        return (outputs - targets).square().mean()

    data = fxc.TrainingData([((torch.eye(16),), torch.randn(16, 20))], loss)
    module = fxc.compress(model, (torch.eye(16),), "mask{pattern=2:8 steps=3 schedule=linear}", train=data).module
    assert seen == [2 * 40, 4 * 40]
    assert module.weight.ne(0).view(20, 2, 8).sum(2).unique().tolist() == [2]


def test_what_was_masked_stays_so_and_other_masks_hold(model, batches):
    once = compress(model, batches, "mask{importance=random sparsity=0.3}")
    for text in ("mask{importance=wanda sparsity=0.6}", "mask{importance=sparsegpt sparsity=0.6}", "mask{pattern=2:4}"):
        twice = fxc.compress(once, None, text, calibration=batches)
        for path, mask in masks_of(once.module).items():
            assert not (masks_of(twice.module)[path] & ~mask).any(), text
    one = fxc.compress(once, None, "mask{sparsity=0.9 targets=first}")
    assert torch.equal(one.module.second.weight_mask, once.module.second.weight_mask)


def test_baked_writes_zeros_alone(model, batches):
    result = compress(model, batches, "mask{baked=true}")
    assert not masks_of(result.module)
    assert int((result.module.first.weight == 0).sum()) == 96
    assert set(result.module.state_dict()) == set(model.state_dict())


def test_weights_that_data_do_not_rank_are_named(batches):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(12, 12)

        def forward(self, x):
            return self.layer(self.layer(x))

    result = compress(Twice().double().eval(), batches, "mask{importance=wanda}")
    assert result.stages[0].notes == ("layer.weight: ranked by magnitude, the weight is shared",)
    assert int((result.module.layer.weight == 0).sum()) == 72


def test_edges_are_named(model, batches):
    result = compress(model, batches, "mask{pattern=3:5}")
    assert "first.weight, second.weight: the last of each row are fewer than 5; 3 stay" in result.stages[0].notes
    result = compress(model, batches, "mask{pattern=block:16x5}")
    assert any("block:16x5 does not divide it" in note for note in result.stages[0].notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mask{pattern=2:4 sparsity=0.7}", ["2:4 says how much goes, and so does sparsity=0.7", "leave sparsity out"]),
        ("mask{threshold=0.1 sparsity=0.7}", ["sparsity and threshold both say how much goes"]),
        ("mask{threshold=0.1 importance=random}", ["a threshold is one of single magnitudes"]),
        ("mask{threshold=0.1 pattern=2:4}", ["a threshold is one of single magnitudes"]),
        ("mask{importance=taylor}", ["importance=taylor needs training data", "fxc.TrainingData(batches, loss)"]),
        ("mask{importance=movement}", ["importance=movement needs training data"]),
        ("mask{steps=3}", ["steps=3 needs training data"]),
        ("mask{importance=wanda}", ["this pass needs calibration data", "calibration=batches"]),
        ("mask{pattern=block:4x4 scope=global}", ["more blocks of some rows", "balanced=false"]),
        ("mask{pattern=2:4 scope=row}", ["scope=row ranks single weights, not 2:4"]),
    ],
)
def test_what_does_not_go_together(model, text, words):
    with pytest.raises(StepFailed) as caught:
        fxc.compress(model, (torch.randn(2, 12, dtype=torch.float64),), text)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("pattern", ["2;4", "4:2", "block:16", "blocks:4x4"])
def test_patterns_that_there_are_not(model, pattern):
    with pytest.raises(fxc.FxcompressError, match="must be unstructured, N:M"):
        fxc.Pipeline.parse(f"mask{{pattern={pattern}}}")
