"""k-means on a line against brute force: every way to cut sorted values into intervals."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from fxcompress.clustering import STARTS, centres_of, nearest


def least_error(values: list[float], count: int) -> float:
    """The least squared error of `count` clusters, by trying all of them."""
    ordered = sorted(values)
    best = math.inf
    for inner in itertools.combinations(range(1, len(ordered)), min(count, len(ordered)) - 1):
        total = 0.0
        for start, end in itertools.pairwise((0, *inner, len(ordered))):
            part = ordered[start:end]
            mean = math.fsum(part) / len(part)
            total += math.fsum((one - mean) ** 2 for one in part)
        best = min(best, total)
    return best


def error_of(values: torch.Tensor, centres: torch.Tensor) -> float:
    return float((values.double()[:, None] - centres[None]).abs().amin(1).square().sum())


@pytest.mark.parametrize("seed", range(12))
def test_optimal_has_the_least_error_that_there_is(seed):
    torch.manual_seed(seed)
    values = torch.randn(11)
    if seed % 3 == 0:
        # Equal values, and others far away.
        values = torch.cat([values[:4].repeat(2), values[:3] * 100])
    for count in (1, 2, 3, 5, 8):
        centres = centres_of(values, count, "optimal")
        assert len(centres) <= count
        assert error_of(values, centres) == pytest.approx(least_error(values.tolist(), count), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("seed", range(6))
def test_every_start_settles(start, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(500, generator=generator)
    values = values[values.abs() > 0.5] if seed % 2 else values
    for count in (1, 2, 7, 16, 100):
        centres = centres_of(values, count, start, generator)
        assert len(centres) == count
        assert bool((centres.diff() > 0).all())
        # Nobody is nearer to another centre, and every centre is the mean of its own.
        distances = (values.double()[:, None] - centres[None]).abs()
        own = nearest(values, centres)
        assert torch.allclose(distances.gather(1, own[:, None])[:, 0], distances.amin(1))
        means = torch.stack([values.double()[own == place].mean() for place in range(count)])
        assert torch.allclose(means, centres, rtol=0, atol=1e-9)


@pytest.mark.parametrize("start", STARTS)
def test_few_different_values_are_kept_as_they_are(start):
    values = torch.tensor([3.0, -1.0, 3.0, 0.5, -1.0])
    assert centres_of(values, 3, start, torch.Generator()).tolist() == [-1.0, 0.5, 3.0]
    assert centres_of(values, 200, start, torch.Generator()).tolist() == [-1.0, 0.5, 3.0]
    assert centres_of(torch.full((9,), 2.0), 4, start, torch.Generator()).tolist() == [2.0]


def test_linear_reaches_the_large_values_and_density_the_many():
    torch.manual_seed(0)
    values = torch.cat([torch.randn(10_000) * 0.01, torch.tensor([5.0, -5.0])])
    linear, optimal = (centres_of(values, 4, start) for start in ("linear", "optimal"))
    assert float(linear[0]) == -5
    assert float(linear[-1]) == 5
    assert error_of(values, optimal) <= error_of(values, linear)


def test_many_values_are_nearly_optimal():
    torch.manual_seed(0)
    values = torch.randn(6000)
    # The optimum for 16 levels of a normal density, as Max found it in 1960: 0.009497.
    error = error_of(values, centres_of(values, 16, "optimal")) / len(values)
    assert error == pytest.approx(0.009497, rel=0.06)
    for start in ("linear", "density", "random"):
        other = error_of(values, centres_of(values, 16, start, torch.Generator().manual_seed(1))) / len(values)
        assert error <= other * 1.001
