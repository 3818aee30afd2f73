"""Every importance goes with every pattern, over layers of all kinds."""

from __future__ import annotations

import pytest
import torch
from nets import EVERY_WEIGHT, IDS, EveryWeight
from torch.utils import _pytree as pytree

import fxcompress as fxc
from fxcompress.sparsity import masks_of


@pytest.fixture(scope="module")
def many():
    torch.manual_seed(0)
    return fxc.capture(EveryWeight().eval(), (IDS,))


def size(outputs, targets):
    return sum(one.float().square().mean() for one in pytree.tree_leaves(outputs))


@pytest.mark.parametrize("importance", ["magnitude", "wanda", "sparsegpt", "taylor", "movement", "random"])
def test_every_importance_goes_with_every_pattern(many, importance):
    given = {"calibration": [(IDS,)] * 2, "train": fxc.TrainingData([((IDS,), None)], size), "diffs": False}

    def masks(text):
        result = fxc.compress(many, None, f"mask{{importance={importance} {text}}}", **given)
        found = masks_of(result.module)
        assert set(found) == EVERY_WEIGHT
        assert all(not result.module.state_dict()[path][~mask].any() for path, mask in found.items())
        return found

    single = masks("sparsity=0.25 scope=layer")
    assert all(int((~mask).sum()) == round(0.25 * mask.numel()) for mask in single.values())
    together = masks("sparsity=0.4 scope=global")
    weights = sum(mask.numel() for mask in together.values())
    assert sum(int((~mask).sum()) for mask in together.values()) == round(0.4 * weights)
    conv = masks("pattern=1:3")["conv.weight"].flatten(1)
    assert all(int(part.sum()) <= 1 for row in conv for part in row.split(3))
    for text in ("pattern=block:2x3", "pattern=block:2x3 balanced=false scope=global"):
        conv = masks(text)["conv.weight"].flatten(1)
        cells = [cell for part in conv.split(2) for cell in part.split(3, 1)]
        assert all(bool(cell.all()) or not cell.any() for cell in cells)
