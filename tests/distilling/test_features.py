"""Losses between features against loops over samples, in float64."""

from __future__ import annotations

import itertools
import math
from itertools import chain

import pytest
import torch

from fxcompress.distilling.features import attention, cosine, hint, relational, similarity


def features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def huber(difference):
    return 0.5 * difference**2 if abs(difference) < 1 else abs(difference) - 0.5


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def test_hint_is_a_share_of_what_the_teacher_sees():
    student, teacher = features(3, 4), features(3, 4, seed=1)
    pairs = list(zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True))
    expected = sum((s - t) ** 2 for s, t in pairs) / sum(t**2 for _, t in pairs)
    assert math.isclose(float(hint(student, teacher)), expected)
    assert math.isclose(float(hint(7 * student, 7 * teacher)), expected)


def test_cosine_of_every_place():
    student, teacher = features(2, 5, 3, 3), features(2, 5, 3, 3, seed=1)
    found = []
    for b, i, j in itertools.product(range(2), range(3), range(3)):
        s, t = student[b, :, i, j].tolist(), teacher[b, :, i, j].tolist()
        found.append(sum(map(float.__mul__, s, t)) / math.hypot(*s) / math.hypot(*t))
    assert math.isclose(float(cosine(student, teacher)), 1 - mean(found))


@pytest.mark.parametrize("shapes", [((2, 5, 3, 4), (2, 7, 3, 4)), ((2, 6, 5), (2, 6, 7))])
def test_attention_maps_with_other_numbers_of_channels(shapes):
    student, teacher = features(*shapes[0]), features(*shapes[1], seed=1)

    def maps(values):
        dim = 1 if values.dim() > 3 else values.dim() - 1
        rows = values.pow(2).sum(dim).flatten(1).tolist()
        return [[value / math.hypot(*row) for value in row] for row in rows]

    pairs = zip(maps(student), maps(teacher), strict=True)
    expected = mean(sum((s - t) ** 2 for s, t in zip(a, b, strict=True)) for a, b in pairs)
    assert math.isclose(float(attention(student, teacher)), expected)


def test_relations_between_samples():
    student, teacher = features(4, 3), features(4, 5, seed=1)

    def distances(rows):
        found = [[math.dist(a, b) for b in rows] for a in rows]
        average = sum(map(sum, found)) / (len(rows) * (len(rows) - 1))
        return [[one / average for one in row] for row in found]

    def direction(a, b):
        apart = [y - x for x, y in zip(a, b, strict=True)]
        return [value / math.hypot(*apart) for value in apart] if any(apart) else apart

    def angle(rows, i, j, k):
        return sum(x * y for x, y in zip(direction(rows[i], rows[j]), direction(rows[i], rows[k]), strict=True))

    mine, theirs = student.tolist(), teacher.tolist()
    both = zip(chain(*distances(mine)), chain(*distances(theirs)), strict=True)
    expected = mean(huber(a - b) for a, b in both)
    places = itertools.product(range(4), repeat=3)
    expected += 2 * mean(huber(angle(mine, *place) - angle(theirs, *place)) for place in places)
    assert math.isclose(float(relational(student, teacher)), expected)
    (gradient,) = torch.autograd.grad(relational(student.requires_grad_(), teacher), student)
    assert bool(gradient.isfinite().all())


def test_relations_of_one_sample_are_none():
    assert float(relational(features(1, 3), features(1, 5))) == 0


def test_similarities_of_samples():
    student, teacher = features(4, 3, 2, 2), features(4, 5, seed=1)

    def similarities(values):
        rows = values.flatten(1).tolist()
        found = [[sum(x * y for x, y in zip(a, b, strict=True)) for b in rows] for a in rows]
        return [[one / math.hypot(*row) for one in row] for row in found]

    both = zip(chain(*similarities(student)), chain(*similarities(teacher)), strict=True)
    assert math.isclose(float(similarity(student, teacher)), sum((a - b) ** 2 for a, b in both) / 4)
