"""A student that learns from captured answers: the same losses as from a teacher that runs beside it."""

from __future__ import annotations

import pytest
import torch
from students import EXAMPLE, batches, data, images, teacher
from torch.utils.data import DataLoader, TensorDataset

import fxcompress as fxc

OPTIONS = "epochs=3 optimizer=sgd lr=0.05"


def losses(text, **given):
    result = fxc.compress(teacher(), EXAMPLE, text, seed=7, **{"train": data(), **given})
    return result.stages[-1].details["losses"], result


@pytest.mark.parametrize("what", ["losses=soft,hard:0.3", "losses=hint,attention,relational pairs=first,second"])
def test_cached_answers_give_the_losses_of_a_live_teacher(tmp_path, what):
    capture = f"capture-teacher{{taps=output,first,second sink=disk to={tmp_path}}}"
    live, _ = losses(f"prune{{ratio=0.5}},distill{{{OPTIONS} {what}}}")
    cached, result = losses(f"{capture},prune{{ratio=0.5}},distill{{{OPTIONS} {what} teacher={tmp_path}}}")
    assert cached == pytest.approx(live, rel=1e-5)
    assert result.stages[-1].details["pairs"] == (["first", "second"] if "pairs" in what else [])


def test_answers_in_memory_and_batches_in_any_order():
    x, y = images()
    loader = DataLoader(TensorDataset(x, y), batch_size=10, shuffle=True)
    train = fxc.TrainingData(loader, torch.nn.functional.cross_entropy)
    held = fxc.compress(teacher(), EXAMPLE, "capture-teacher", train=data()).stages[0].details["teacher"]
    live, _ = losses(f"prune{{ratio=0.5}},distill{{{OPTIONS}}}", train=train)
    cached, _ = losses(f"prune{{ratio=0.5}},distill{{{OPTIONS}}}", train=train, teacher=held)
    assert cached == pytest.approx(live, rel=1e-5)


def test_all_of_the_largest_logits_are_as_good_as_logits(tmp_path):
    capture = f"capture-teacher{{taps=output|topk:4 temperature=2 sink=disk to={tmp_path}}}"
    live, _ = losses(f"prune{{ratio=0.5}},distill{{{OPTIONS} temperature=2}}")
    cached, _ = losses(f"{capture},prune{{ratio=0.5}},distill{{{OPTIONS} temperature=2 teacher={tmp_path}}}")
    assert cached == pytest.approx(live, rel=1e-3)


def test_tails_of_another_temperature_are_refused(tmp_path):
    capture = f"capture-teacher{{taps=output|topk:2 temperature=2 sink=disk to={tmp_path}}}"
    with pytest.raises(fxc.FxcompressError, match="temperature"):
        losses(f"{capture},distill{{{OPTIONS} temperature=4 teacher={tmp_path}}}")


def test_features_are_transformed_as_they_were_captured(tmp_path):
    capture = f"capture-teacher{{taps=second|pool,output sink=disk to={tmp_path}}}"
    text = f"{capture},mask{{sparsity=0.5}},distill{{{OPTIONS} losses=hint teacher={tmp_path}"
    _, result = losses(f"{text} pairs=second|pool}}")
    assert result.stages[-1].details["pairs"] == ["second|pool"]
    _, found = losses(f"{text}}}")
    assert found.stages[-1].details["pairs"] == ["second|pool"]


def test_inputs_that_were_not_captured_are_refused(tmp_path):
    capture = f"capture-teacher{{sink=disk to={tmp_path}}}"
    fxc.compress(teacher(), EXAMPLE, capture, train=data())
    noisy = fxc.TrainingData([(x + 0.1, y) for x, y in batches()])
    with pytest.raises(fxc.FxcompressError, match="did not see 16 samples"):
        losses(f"prune{{ratio=0.5}},distill{{{OPTIONS} teacher={tmp_path}}}", train=noisy)
    with pytest.raises(fxc.FxcompressError, match="'first' was not captured"):
        losses(f"prune{{ratio=0.5}},distill{{{OPTIONS} losses=hint pairs=first teacher={tmp_path}}}")


@pytest.mark.parametrize("loss", ["dkd", "binary"])
def test_losses_of_all_logits_refuse_the_largest(tmp_path, loss):
    capture = f"capture-teacher{{taps=output|topk:2 temperature=4 sink=disk to={tmp_path}}}"
    with pytest.raises(fxc.FxcompressError, match=f"the loss '{loss}' reads all logits"):
        losses(f"{capture},distill{{{OPTIONS} losses={loss} teacher={tmp_path}}}")


def test_parts_of_logits_are_no_features():
    with pytest.raises(fxc.FxcompressError, match="no features"):
        losses(f"mask{{sparsity=0.5}},distill{{{OPTIONS} losses=hint pairs=head|topk:2}}")
