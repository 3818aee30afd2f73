"""A compressed graph learns under what people train with: the examples as they stand, and checkpointed gradients."""

from __future__ import annotations

import copy
import importlib.util
import runpy
import sys
from pathlib import Path

import pytest
import torch
from nets_to_train import net, rows
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import fxcompress as fxc

ROOT = Path(__file__).parents[2]
OPERATORS = ROOT / "benchmarks" / "zoo_models" / "operators.py"
# What the trainers warn of is theirs.
pytestmark = pytest.mark.filterwarnings("default")


def example(name, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    sys.modules.pop("teacher_and_student", None)
    with torch.random.fork_rng():
        return runpy.run_path(str(ROOT / "examples" / f"{name}.py"))["main"]


def test_plain_pytorch(monkeypatch):
    before, after = example("train_plain", monkeypatch)(compiled=False)
    assert after > before + 0.05


@pytest.mark.slow
def test_compiled(monkeypatch):
    before, after = example("train_plain", monkeypatch)()
    assert after > before + 0.05


def test_accelerate(monkeypatch):
    pytest.importorskip("accelerate")
    before, after = example("train_accelerate", monkeypatch)()
    assert after > before + 0.05


def test_the_trainer_of_transformers(monkeypatch):
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    if importlib.util.find_spec("torchvision"):
        runpy.run_path(str(OPERATORS))["import_torchvision"]()
    before, after = example("train_transformers", monkeypatch)()
    assert after < before


@pytest.mark.parametrize("pipeline", ["prune{ratio=0.5}", "mask{sparsity=0.5}", "fake-quantize{scheme=w8a8}"])
def test_gradients_of_a_checkpointed_graph_are_the_same(pipeline):
    x, y = rows()
    module = fxc.compress(net(0.0), (x[:4],), pipeline).module.train()
    other = copy.deepcopy(module).train()
    functional.cross_entropy(module(x), y).backward()
    functional.cross_entropy(checkpoint(other, x, use_reentrant=False), y).backward()
    for (name, one), two in zip(module.named_parameters(), other.parameters(), strict=True):
        assert (one.grad is None) == (two.grad is None), name
        if one.grad is not None:
            torch.testing.assert_close(one.grad, two.grad, msg=name)
