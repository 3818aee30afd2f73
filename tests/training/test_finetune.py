"""`finetune` against loops written by hand: the same weights to the bit."""

from __future__ import annotations

import copy
import math
import random

import numpy as np
import pytest
import torch
from nets_to_train import data, loader, net, rows, same
from torch.nn import functional

import fxcompress as fxc
from fxcompress.capturing import as_inputs
from fxcompress.contract import PassContext, Resources

INPUTS = (torch.randn(4, 6),)


def finetuned(options, **given):
    given = {"train": data(), "seed": 7, **given}
    return fxc.compress(net(), INPUTS, f"finetune{{{options}}}", **given)


def by_hand(make, epochs, rate=None, clip=None, cast=False, seed=7, model=None):
    """Train as a user would, with nothing of ours but the captured graph."""
    module = copy.deepcopy(fxc.capture((model or net()).eval(), INPUTS).module).train()
    optimizer = make(module.parameters())
    steps = epochs * len(loader())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        batches, step = loader(), 0
        for _ in range(epochs):
            for x, y in batches:
                optimizer.param_groups[0]["lr"] = rate(step, steps)
                optimizer.zero_grad()
                with torch.autocast("cpu", torch.bfloat16, enabled=cast):
                    loss = functional.cross_entropy(module(x), y)
                loss.backward()
                if clip:
                    torch.nn.utils.clip_grad_norm_(module.parameters(), clip)
                optimizer.step()
                step += 1
    return module.eval()


def cosine(lr):
    return lambda step, steps: lr * (0.5 * (1 + math.cos(math.pi * step / steps)))


CASES = {
    "optimizer=sgd lr=0.1 epochs=3 weight_decay=0.01": (
        lambda ps: torch.optim.SGD(ps, 0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
        {"epochs": 3, "rate": cosine(0.1)},
    ),
    "optimizer=sgd momentum=0 lr=0.1 epochs=2 schedule=constant": (
        lambda ps: torch.optim.SGD(ps, 0.1),
        {"epochs": 2, "rate": lambda step, steps: 0.1},
    ),
    "optimizer=adam lr=0.01 epochs=2 schedule=linear clip=0.5": (
        lambda ps: torch.optim.Adam(ps, 0.01),
        {"epochs": 2, "rate": lambda step, steps: 0.01 * (1 - step / steps), "clip": 0.5},
    ),
    "optimizer=adamw lr=0.01 epochs=2 weight_decay=0.1 precision=bf16": (
        lambda ps: torch.optim.AdamW(ps, 0.01, weight_decay=0.1),
        {"epochs": 2, "rate": cosine(0.01), "cast": True},
    ),
}


@pytest.mark.parametrize("options", CASES)
def test_it_is_the_loop_that_one_would_write(options):
    make, settings = CASES[options]
    ours, theirs = finetuned(options), by_hand(make, **settings)
    assert same(ours.module, theirs)
    assert not same(ours.module, fxc.capture(net().eval(), INPUTS).module)
    assert ours.stages[0].statistics == {"epochs_run": settings["epochs"], "steps": 7 * settings["epochs"]}
    assert not ours.module.training
    assert all(one.grad is None for one in ours.module.parameters())


def test_warm_up_rises_and_the_cosine_falls_to_zero():
    settings = fxc.Pipeline.parse("finetune{lr=2 warmup=0.25}").passes[0].settings
    rates = [settings.rate(step, 8) for step in range(8)]
    assert rates[:3] == pytest.approx([2 / 3, 4 / 3, 2])
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert settings.rate(8, 8) == pytest.approx(0)
    # Halfway down the cosine is half of the rate.
    assert settings.rate(5, 8) == pytest.approx(1)


def test_it_learns_and_the_seed_decides():
    one, again, other = (finetuned("epochs=4 lr=0.03", seed=seed) for seed in (7, 7, 8))
    assert same(one.module, again.module)
    assert not same(one.module, other.module)
    losses = one.stages[0].details["losses"]
    assert len(losses) == 4
    assert losses[-1] < 0.7 * losses[0]


def draws():
    return float(torch.rand(1)), float(np.random.rand()), random.random()


def seed_all():
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)


def test_global_generators_are_left_as_they_were():
    captured = fxc.capture(net().eval(), INPUTS)
    seed_all()
    before = draws()
    seed_all()
    fxc.compress(captured, None, "finetune", train=data())
    assert draws() == before


def test_the_best_epoch_is_kept_and_patience_ends():
    scores = iter([0.1, 0.5, 0.3, 0.4, 0.2, 0.9])
    seen = []

    def evaluate(module):
        assert not module.training
        assert not torch.is_grad_enabled()
        seen.append(copy.deepcopy(module.state_dict()))
        return next(scores)

    module = copy.deepcopy(fxc.capture(net().eval(), INPUTS).module)
    (running,) = fxc.Pipeline.parse("finetune{epochs=6 best=true patience=3}")
    context = PassContext(Resources(as_inputs(INPUTS), train=data(), evaluate=evaluate), ("epochs_run", "steps"))
    made = running.apply(module, context)
    assert context.details["scores"] == [0.1, 0.5, 0.3, 0.4, 0.2]
    assert context.details["best_epoch"] == 2
    assert all(torch.equal(tensor, seen[1][name]) for name, tensor in made.state_dict().items())
    assert any("stopped after epoch 5 of 6" in note for note in context.notes)


def test_it_tells_how_far_it_is():
    lines = []
    finetuned("epochs=2 best=true", evaluate=lambda module: 0.25, progress=lines.append)
    assert [line.strip().partition(":")[0] for line in lines[1:]] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert lines[-1].endswith("evaluate 0.25")


def test_batch_norms_learn_their_statistics_and_frozen_parameters_stay():
    model = net()
    model.head.weight.requires_grad_(False)
    made = fxc.compress(model, INPUTS, "finetune{epochs=1}", train=data()).module
    assert torch.equal(made.head.weight, model.head.weight)
    assert not torch.equal(made.norm.running_mean, model.norm.running_mean)
    assert torch.equal(model.norm.running_mean, torch.zeros(16))


def test_what_cannot_be_trained():
    with pytest.raises(fxc.FxcompressError, match="needs training data"):
        finetuned("epochs=1", train=None)
    with pytest.raises(fxc.FxcompressError, match="need to know what is better"):
        finetuned("best=true")
    with pytest.raises(fxc.FxcompressError, match="no batches in epoch 2"):
        finetuned("epochs=2 schedule=constant", train=data(one for one in loader()))
    with pytest.raises(fxc.FxcompressError, match="how many batches"):
        finetuned("epochs=2", train=data(one for one in loader()))
    x, y = rows(8)
    with pytest.raises(fxc.FxcompressError, match=r"the loss is nan at step 3 \(epoch 1, batch 3\)"):
        finetuned("epochs=1", train=data([(x, y), (x, y), (x * float("nan"), y)]))
    frozen = net().requires_grad_(False)
    with pytest.raises(fxc.FxcompressError, match="no parameter of the model learns"):
        fxc.compress(frozen, INPUTS, "finetune", train=data())
