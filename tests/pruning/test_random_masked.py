"""Random networks with zeros in whole rows, columns and vectors: without what they make useless, they give the same."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from random_models import describe, random_model
from torch import nn

import fxcompress as fxc


def with_zeros(model: nn.Module, seed: int) -> nn.Module:
    """A copy in which a third of the slices of some tensors are zero."""
    generator = torch.Generator().manual_seed(seed)
    model = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            for dim in range(min(parameter.dim(), 2)):
                if torch.rand((), generator=generator) < 0.7:
                    gone = torch.rand(parameter.shape[dim], generator=generator) < 0.35
                    parameter.index_fill_(dim, gone.nonzero().flatten(), 0)
    return model


def difference(model: nn.Module, seed: int, given: torch.Tensor) -> tuple[float, int]:
    """How far the pruned network is from the one with zeros, on inputs that the pass has not seen; slots removed."""
    model = with_zeros(model, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = fxc.compress(model, (given,), "prune{masked=true}", diffs=False)
    torch.manual_seed(seed + 1)
    fresh = torch.randn_like(given) if given.is_floating_point() else given.flip(0)
    with torch.no_grad():
        want, got = model(fresh), result.module(fresh)
    scale = float(want.norm()) or 1.0
    return float((want - got).norm()) / scale, int(result.stages[0].statistics["slots"])


@pytest.mark.parametrize("seed", [*range(20), 131, 163])
def test_what_zeros_make_useless_goes_and_nothing_else(seed):
    model, given = random_model(seed, blocks=1 + seed % 3)
    found, _ = difference(model, seed, given)
    assert found < 1e-9, describe(model)


@pytest.mark.parametrize("seed", [101, 102, 103, 104, 107, 110])
def test_these_lose_slots(seed):
    model, given = random_model(seed, blocks=1 + seed % 3)
    found, slots = difference(model, seed, given)
    assert found < 1e-9, describe(model)
    assert slots > 0
