"""Losses between predictions against sums written out by hand, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from fxcompress.distilling.predictions import binary_targets, decoupled, soft_targets, soft_top_targets


def logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def probabilities(row, temperature):
    powers = [math.exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def divergence(theirs, mine):
    return sum(p * math.log(p / q) for p, q in zip(theirs, mine, strict=True) if p > 0)


def by_hand(student, teacher, temperature):
    rows = zip(student.tolist(), teacher.tolist(), strict=True)
    found = [divergence(probabilities(t, temperature), probabilities(s, temperature)) for s, t in rows]
    return temperature**2 * sum(found) / len(found)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_targets(temperature):
    student, teacher = logits(6, 5), logits(6, 5, seed=1)
    assert math.isclose(float(soft_targets(student, teacher, temperature)), by_hand(student, teacher, temperature))


def test_every_pixel_and_every_token_counts_the_same():
    student, teacher = logits(2, 5, 3, 4), logits(2, 5, 3, 4, seed=1)
    pixels = [one.permute(0, 2, 3, 1).reshape(-1, 5) for one in (student, teacher)]
    assert math.isclose(float(soft_targets(student, teacher, 2.0)), by_hand(*pixels, 2.0))
    tokens = [one.reshape(-1, 5) for one in (logits(2, 3, 5), logits(2, 3, 5, seed=1))]
    given = logits(2, 3, 5), logits(2, 3, 5, seed=1)
    assert math.isclose(float(soft_targets(*given, 2.0)), by_hand(*tokens, 2.0))


def test_gradients_stay_as_large_at_any_temperature():
    """At large temperatures it tends to that of half the squared distance of centred logits, over the classes."""
    student, teacher = logits(6, 5).requires_grad_(), logits(6, 5, seed=1)
    (found,) = torch.autograd.grad(soft_targets(student, teacher, 1e4), student)
    centred = [one - one.mean(1, keepdim=True) for one in (student.detach(), teacher)]
    torch.testing.assert_close(found, (centred[0] - centred[1]) / 5 / 6, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_the_largest_logits_and_the_rest_as_one_class(count):
    student, teacher, temperature = logits(4, 5), logits(4, 5, seed=1), 3.0
    values, classes = teacher.topk(count)
    rest = []
    expected = []
    for mine, theirs, kept in zip(student.tolist(), teacher.tolist(), classes.tolist(), strict=True):
        p, q = probabilities(theirs, temperature), probabilities(mine, temperature)
        others = [i for i in range(5) if i not in kept]
        merged = [[row[i] for i in kept] + [sum(row[i] for i in others)] for row in (p, q)]
        expected.append(divergence(*merged))
        tail = sum(math.exp(theirs[i] / temperature) for i in others)
        rest.append(math.log(tail) if tail else -math.inf)
    softened = torch.cat([values / temperature, torch.tensor(rest, dtype=torch.float64)[:, None]], 1)
    found = soft_top_targets(student.requires_grad_(), classes, softened, temperature)
    assert math.isclose(float(found.detach()), temperature**2 * sum(expected) / 4)
    (gradient,) = torch.autograd.grad(found, student)
    assert bool(gradient.isfinite().all())


def test_decoupled_is_the_ordinary_loss_where_the_weight_is_what_the_teacher_leaves_over():
    """The paper's identity: KD = TCKD + (1 - p of the right class) NCKD, for one row at a time."""
    for seed in range(4):
        student, teacher, label = logits(1, 5, seed=seed), logits(1, 5, seed=seed + 9), torch.tensor([seed])
        left = 1 - probabilities(teacher[0].tolist(), 2.0)[seed]
        found = decoupled(student, teacher, 2.0, label, others=left)
        assert math.isclose(float(found), by_hand(student, teacher, 2.0))


def test_decoupled_takes_the_teachers_choice_where_there_are_no_labels():
    student, teacher = logits(4, 5), logits(4, 5, seed=1)
    told = decoupled(student, teacher, 2.0, teacher.argmax(1), others=8.0)
    assert float(decoupled(student, teacher, 2.0, None, others=8.0)) == float(told)


def test_binary_targets():
    student, teacher, temperature = logits(3, 4), logits(3, 4, seed=1), 2.0
    expected = 0.0
    for s, t in zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True):
        p, q = (1 / (1 + math.exp(-value / temperature)) for value in (t, s))
        expected += divergence([p, 1 - p], [q, 1 - q])
    assert math.isclose(float(binary_targets(student, teacher, temperature)), 4 * expected / 12)


@pytest.mark.parametrize("loss", [soft_targets, binary_targets])
def test_nothing_is_lost_where_both_agree(loss):
    given = logits(4, 5).float()
    assert abs(float(loss(given, given, 4.0))) < 1e-6
    assert float(functional.mse_loss(given, given)) == 0
