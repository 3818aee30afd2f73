"""What is said to be exact is: slots that are zero in every carrier have no effect on what follows them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.analysis.axes.analyse import analyse
from fxcompress.analysis.axes.groups import groups_of
from fxcompress.analysis.axes.zeros import inexact


class Between(nn.Module):
    """Two projections, a function of each, and the products of both added up over the features."""

    def __init__(self, left, right):
        super().__init__()
        self.left, self.right = left, right
        self.one, self.other = (nn.Linear(3, 6).double() for _ in range(2))

    def forward(self, given):
        return self.left(self.one(given)) @ self.right(self.other(given)).T


FUNCTIONS = {
    "relu": torch.relu, "sigmoid": torch.sigmoid, "cos": torch.cos, "same": lambda x: x * 1, "exp": torch.exp,
    "gelu": nn.functional.gelu, "plus": lambda x: x + 1, "tanh": torch.tanh, "one over": lambda x: 1 / x,
    "log": lambda x: x.abs().log(), "root": lambda x: (x * x + 1).rsqrt(), "below": lambda x: x.clamp(min=0.1),
}  # fmt: skip


def reference(model, given) -> bool:
    """Whether setting two features to zero in all carriers is the same as leaving them out of the sum."""
    with torch.no_grad():
        for layer in (model.one, model.other):
            layer.weight[:2], layer.bias[:2] = 0, 0
        left, right = model.left(model.one(given)), model.right(model.other(given))
        whole, rest = left @ right.T, left[:, 2:] @ right[:, 2:].T
    return bool(torch.isfinite(whole).all()) and torch.allclose(whole, rest, rtol=1e-10)


@pytest.mark.parametrize("right", ["same", "sigmoid", "one over", "relu"])
@pytest.mark.parametrize("left", FUNCTIONS)
def test_a_product_is_exact_where_one_side_is_zero_and_the_other_finite(left, right):
    model, given = Between(FUNCTIONS[left], FUNCTIONS[right]), torch.randn(4, 3, dtype=torch.float64)
    axes = analyse(fxc.capture(model, (given,), dynamic="none").module)
    (group,) = [group for group in groups_of(axes) if group.free]
    assert (id(group.leaf) not in inexact(axes)) == reference(model, given)


@pytest.mark.parametrize(
    ("norm", "exact"),
    [(nn.BatchNorm1d(6), True), (nn.LayerNorm(6), False), (nn.RMSNorm(6), True), (nn.GroupNorm(2, 6), False)],
)
def test_norms_over_the_slots_are_in_the_way(norm, exact):
    model = nn.Sequential(nn.Linear(3, 6), norm, nn.Linear(6, 2)).double().eval()
    axes = analyse(fxc.capture(model, (torch.randn(4, 3, dtype=torch.float64),), dynamic="none").module)
    found = inexact(axes)
    named = [(group, found.get(id(group.leaf))) for group in groups_of(axes) if group.free]
    inner = [pin for group, pin in named if group.size == (3 if isinstance(norm, nn.GroupNorm) else 6)]
    assert [pin is None for pin in inner] == [exact]
    assert all("normalises" in pin.text for pin in inner if pin is not None)


def test_the_groups_of_a_norm_are_exact():
    """All of a group goes, and the others are normalised as before."""
    model = nn.Sequential(nn.Linear(3, 6), nn.GroupNorm(2, 6), nn.Linear(6, 2)).double().eval()
    axes = analyse(fxc.capture(model, (torch.randn(4, 3, dtype=torch.float64),), dynamic="none").module)
    assert [group.size for group in groups_of(axes) if group.free and id(group.leaf) not in inexact(axes)] == [2]
    assert math.prod(group.size for group in groups_of(axes) if group.free) == 6
