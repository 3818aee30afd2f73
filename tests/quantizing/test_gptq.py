"""GPTQ and coordinate descent beside brute force over all roundings, and GPTQ beside its definition in numpy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fxcompress.quantizing.descent import descend
from fxcompress.quantizing.gptq import BLOCK, damped, gptq, inverse_factor
from fxcompress.quantizing.grid import Grid, best_parameters, nearest
from fxcompress.quantizing.layerwise import fitted
from fxcompress.quantizing.rounding import parameters_of
from fxcompress.schemes import Scheme


def problem(seed: int, outputs: int, width: int, bits: int = 2, groups: int = 1) -> tuple[torch.Tensor, ...]:
    """A weight, damped moments of correlated inputs, and a grid."""
    torch.manual_seed(seed)
    matrix = torch.randn(groups, outputs, width, dtype=torch.float64)
    inputs = torch.randn(groups, 3 * width, width, dtype=torch.float64) @ torch.randn(groups, width, width).double()
    steps = torch.rand(groups, outputs, 1, dtype=torch.float64).expand_as(matrix) + 0.3
    offsets = torch.randint(-1, 2, (groups, outputs, 1)).double().expand_as(matrix)
    grid = Grid(steps, offsets, steps, offsets, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return matrix, damped(inputs.mT @ inputs, 0.01), grid


def costs(matrix, moments, grid, integers):
    error = grid.floats(integers) - matrix
    return torch.einsum("goi,gij,goj->go", error, moments, error)


def rounded(matrix, grid):
    return nearest(matrix, grid.steps, grid.offsets, grid.low, grid.high)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 4))
def test_tiny_problems_beside_all_roundings(seed, width):
    matrix, moments, grid = problem(seed, 1, width)
    everything = itertools.product(range(grid.low, grid.high + 1), repeat=width)
    each = [float(costs(matrix, moments, grid, torch.tensor([[row]]).double())) for row in everything]
    found = gptq(matrix, moments, grid)
    improved = descend(matrix, moments, grid, found, rounds=20)
    first, last = (float(costs(matrix, moments, grid, one)) for one in (found, improved))
    slack = 1e-9 * (1 + max(each))
    assert min(each) - slack <= last <= first + slack
    # No single integer could be changed for the better.
    for place, integer in itertools.product(range(width), range(grid.low, grid.high + 1)):
        other = improved.clone()
        other[0, 0, place] = integer
        assert float(costs(matrix, moments, grid, other)) >= last - slack


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 6), st.integers(1, 2))
def test_every_step_is_the_best_answer_to_those_before(seed, outputs, width, groups):
    matrix, moments, grid = problem(seed, outputs, width, 3, groups)
    found = gptq(matrix, moments, grid)
    for group, row in itertools.product(range(groups), range(outputs)):
        want = by_definition(*(one[group].numpy() for one in (matrix, moments, grid.steps, grid.offsets)), row, grid)
        assert found[group, row].tolist() == want


def by_definition(matrix, moments, steps, offsets, row, grid):
    """Round the input of the largest moment first; then choose the floats of the others anew by least squares."""
    left, free = matrix[row].copy(), list(np.argsort(-np.diag(moments), kind="stable"))
    integers = np.zeros(len(left))
    while free:
        place = free.pop(0)
        integer = np.round(left[place] / steps[row, place]) + offsets[row, place]
        integers[place] = np.clip(integer, grid.low, grid.high)
        error = (integers[place] - offsets[row, place]) * steps[row, place] - left[place]
        left[place] += error
        if free:
            left[free] -= np.linalg.solve(moments[np.ix_(free, free)], moments[free, place]) * error
    return integers.tolist()


@pytest.mark.parametrize("width", [BLOCK - 1, BLOCK, 2 * BLOCK + 5])
def test_blocks_change_nothing(width):
    matrix, moments, grid = problem(0, 2, width, 4)
    found = gptq(matrix, moments, grid)
    assert found[0, 0].tolist() == by_definition(*(one[0].numpy() for one in plain(matrix, moments, grid)), 0, grid)
    before = costs(matrix, moments, grid, found)
    assert (costs(matrix, moments, grid, descend(matrix, moments, grid, found)) <= before).all()
    assert (before < costs(matrix, moments, grid, rounded(matrix, grid))).all()


def plain(matrix, moments, grid):
    return matrix, moments, grid.steps, grid.offsets


def test_the_factor_is_one_of_the_inverse():
    _, moments, _ = problem(1, 1, 5, groups=2)
    factor = inverse_factor(moments)
    assert torch.allclose(factor.mT @ factor @ moments, torch.eye(5).double().expand(2, 5, 5), atol=1e-8)
    assert torch.equal(factor, factor.triu())


def test_inputs_that_are_always_zero_are_rounded_to_nearest():
    matrix, _, grid = problem(2, 3, 4)
    moments = damped(torch.zeros(1, 4, 4, dtype=torch.float64), 0.01)
    assert torch.equal(gptq(matrix, moments, grid), rounded(matrix, grid))
    assert torch.equal(descend(matrix, moments, grid, rounded(matrix, grid)), rounded(matrix, grid))


@pytest.mark.parametrize("symmetric", [True, False])
def test_ranges_cost_no_more_than_the_whole_one(symmetric):
    torch.manual_seed(3)
    rows, weights = torch.randn(6, 32).double() ** 3, torch.rand(6, 32).double() ** 2
    scheme = Scheme("any", 3, "channel", symmetric=symmetric)

    def cost(scales, zeros):
        steps = scales.double()[:, None]
        offsets = torch.zeros_like(steps) if zeros is None else zeros.double()[:, None]
        integers = ((rows / steps).round() + offsets).clamp(*scheme.range)
        return (((integers - offsets) * steps - rows) ** 2 * weights).sum(1)

    best, whole = cost(*best_parameters(rows, weights, scheme)), cost(*parameters_of(rows.float(), scheme))
    assert (best <= whole).all()
    assert (best < 0.8 * whole).any()


def test_a_fit_is_the_minimum():
    torch.manual_seed(4)
    now, before = torch.randn(1, 20, 3).double(), torch.randn(1, 20, 3).double()
    matrix = torch.randn(1, 2, 3).double()
    made = fitted(matrix, now.mT @ now, now.mT @ before).requires_grad_()
    ridge = 0.1 * now.square().sum() / 3
    loss = (now @ made.mT - before @ matrix.mT).square().sum() + ridge * (made - matrix).square().sum()
    assert torch.autograd.grad(loss, made)[0].abs().max() < 1e-9
