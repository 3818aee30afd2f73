"""Random networks, from a convolution to heads that share keys: pruned exactly they are what they were with zeros.

`benchmarks/pruning_random.py --count 2000` is the same over more of them.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest
import torch
from random_models import describe, random_model

import fxcompress as fxc

AXES = Path(__file__).parents[1] / "analysis" / "axes"
SEEDS = range(50)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """What torch.export warns of while it traces is not what is tested."""
    monkeypatch.syspath_prepend(str(AXES))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    sys.modules.pop("permuting", None)


@pytest.mark.parametrize("seed", SEEDS)
def test_pruned_is_masked_and_slots_have_no_order(seed):
    from random_checks import checked

    model, given = random_model(seed, blocks=1 + seed % 3)
    outcome = checked(model, given, seed)
    assert outcome.groups > 0, describe(model)
    assert outcome.holds, f"{outcome}: {describe(model)}"


@pytest.mark.parametrize("seed", range(60, 64))
def test_the_pass_prunes_them_exactly(seed):
    from random_checks import distance, masked

    model, given = random_model(seed, blocks=2)
    result = fxc.compress(model, (given,), "prune{ratio=0.5 round_to=1 exact=true}")
    with torch.no_grad():
        expected, found = masked(model, result.plan)(given), result.module(given)
        assert distance(expected, found) < 1e-10, describe(model)
        assert distance(model(given), expected) > 1e-6, "nothing was removed that matters"


def test_a_seed_always_gives_the_same_network():
    (one, given), (other, same) = random_model(5), random_model(5)
    assert torch.equal(given, same)
    assert describe(one) == describe(other)
    with torch.no_grad():
        assert torch.equal(one(given), other(given))
