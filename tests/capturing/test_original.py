"""The user's model, inputs and random numbers are as they were, whatever happens."""

from __future__ import annotations

import copy
import random

import models
import numpy as np
import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.errors import CaptureError


def snapshot(model):
    state = {name: (tensor, tensor.clone()) for name, tensor in model.state_dict(keep_vars=True).items()}
    return state, [module.training for module in model.modules()], [set(module.__dict__) for module in model.modules()]


def assert_untouched(model, before):
    state, training, names = before
    now = model.state_dict(keep_vars=True)
    assert list(now) == list(state)
    for name, (tensor, value) in state.items():
        assert now[name] is tensor
        assert torch.equal(tensor, value)
        assert tensor.grad is None
    assert [module.training for module in model.modules()] == training
    assert [set(module.__dict__) for module in model.modules()] == names
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


CASES = {
    "plain": (models.Plain, models.image),
    "writer": (models.Writer, models.rows(4)),
    "tied": (models.Tied, models.words),
    "attention": (lambda: models.Attention(0.1, 0.1), models.rows(5, 8)),
    "recurrent": (models.Recurrent, models.rows(5, 3)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_untouched(name, training):
    build, inputs = CASES[name]
    model = build().train(training)
    next(model.modules()).training = not training
    given = inputs(3)
    values = copy.deepcopy(given)
    before = snapshot(model)
    captured = fxc.capture(model, given)
    assert_untouched(model, before)
    for one, other in zip(given, values, strict=True):
        assert torch.equal(one, other)
        assert not hasattr(one, "_dynamo_weak_dynamic_indices")
    assert not captured.module.training


class Forgetful(nn.Module):
    """Keeps tensors, counts and caches as attributes while it runs, and fails where it is told to."""

    def __init__(self, fails):
        super().__init__()
        self.fails = fails
        self.layer = nn.Linear(3, 3)
        self.cache = {}
        self.seen = []
        self.last = None
        self.calls = 0
        self.plain = torch.ones(3)

    def forward(self, x):
        self.calls += 1
        self.cache["x"] = x
        self.seen.append(x.shape)
        self.last = self.layer(x)
        random.random()
        np.random.rand()
        torch.rand(())
        if self.fails and self.last.sum() > 0:
            return x
        return self.last + self.plain


@pytest.mark.parametrize("fails", [False, True])
def test_attributes_and_random_numbers_are_restored(fails):
    model = Forgetful(fails).train()
    before = snapshot(model)
    cache, seen = model.cache, model.seen
    given = models.rows(3)(2)
    numbers = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    if fails:
        with pytest.raises(CaptureError):
            fxc.capture(model, given)
    else:
        fxc.capture(model, given)
    assert_untouched(model, before)
    assert model.cache is cache
    assert model.seen is seen
    assert (model.cache, model.seen, model.last, model.calls) == ({}, [], None, 0)
    assert torch.equal(model.plain, torch.ones(3))
    assert torch.equal(torch.get_rng_state(), numbers[0])
    assert random.getstate() == numbers[1]
    assert np.array_equal(np.random.get_state()[1], numbers[2])


def test_tensors_are_copies_under_their_old_names():
    model = models.Tied()
    model.body.weight.requires_grad_(False)
    module = fxc.capture(model, models.words(2)).module
    assert list(module.state_dict()) != []
    assert set(module.state_dict()) == set(model.state_dict())
    for name, tensor in model.state_dict(keep_vars=True).items():
        copied = module.state_dict(keep_vars=True)[name]
        assert torch.equal(copied, tensor)
        assert copied.data_ptr() != tensor.data_ptr()
        assert copied.requires_grad == tensor.requires_grad
        assert isinstance(copied, nn.Parameter) == isinstance(tensor, nn.Parameter)
    assert module.get_parameter("embed.weight") is module.get_parameter("out.weight")
    assert module.get_parameter("body.weight") is module.get_parameter("again.weight")
    assert "fleeting" in dict(module.named_buffers())
    model.load_state_dict(module.state_dict())
    assert set(copy.deepcopy(module).state_dict()) == set(model.state_dict())


def test_batch_norm_keeps_its_counter():
    model = models.Plain().eval()
    module = fxc.capture(model, models.image(2)).module
    assert set(module.state_dict()) == set(model.state_dict())
    assert module.state_dict()["bn.num_batches_tracked"] == 0
