"""A run that is killed, wherever that is, ends with the weights of one that was not."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from nets_to_train import data, loader, net, rows, same
from torch.nn import functional

import fxcompress as fxc

INPUTS = (torch.randn(4, 6, generator=torch.Generator().manual_seed(2)),)
OPTIONS = "epochs=3 lr=0.02 optimizer={} weight_decay=0.01 clip=1 warmup=0.2 best=true save_every=3"


class Killed(Exception):
    """Stands for the end of the process: nothing of the pass may catch it."""


class Noisy:
    """Batches that are shuffled and disturbed by draws from all three global generators, between the batches."""

    def __len__(self):
        return 7

    def __iter__(self):
        for x, y in loader():
            noise = torch.randn(x.shape) + np.random.rand() + random.random()
            yield x + 0.1 * noise, y


class Sentenced:
    """A loss that ends the process at its n-th call."""

    def __init__(self, left):
        self.left = left

    def __call__(self, outputs, targets):
        self.left -= 1
        if self.left == 0:
            raise Killed
        return functional.cross_entropy(outputs, targets)


def evaluate(module):
    x, y = rows()
    # An evaluation that draws, too.
    return float((module(x).argmax(1) == y).double().mean()) + 1e-6 * float(torch.rand(1))


def run(options, batches, loss=functional.cross_entropy, model=None):
    train = fxc.TrainingData(batches, loss)
    return fxc.compress(model or net(), INPUTS, f"finetune{{{options}}}", train=train, evaluate=evaluate, seed=11)


def killed_at(step, options, make):
    with pytest.raises(fxc.FxcompressError) as found:
        run(options, make(), Sentenced(step))
    assert isinstance(found.value.__cause__, Killed)


def seeded_loader():
    return loader(torch.Generator().manual_seed(4))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("make", [loader, seeded_loader, Noisy], ids=["loader", "own generator", "noisy"])
def test_killed_at_any_step(tmp_path, optimizer, make):
    options = OPTIONS.format(optimizer)
    whole = run(options, make())
    for step in (1, 5, 7, 8, 13, 21):
        folder = f" resume={tmp_path}/{step}"
        killed_at(step, options + folder, make)
        went_on = run(options + folder, make())
        assert same(went_on.module, whole.module), step
        for name in ("losses", "scores", "best_epoch"):
            assert went_on.stages[0].details[name] == whole.stages[0].details[name]


def test_killed_again_and_again(tmp_path):
    options = OPTIONS.format("adamw") + f" resume={tmp_path}"
    whole = run(OPTIONS.format("adamw"), loader())
    for _ in range(4):
        # Four steps each: one more than what is saved.
        killed_at(5, options, loader)
    assert same(run(options, loader()).module, whole.module)


def test_a_finished_run_is_not_trained_again(tmp_path):
    options = f"epochs=2 resume={tmp_path}"
    first = run(options, loader())
    again = run(options, loader(), Sentenced(1))
    assert same(first.module, again.module)
    assert any("went on from what was saved" in note for note in again.stages[0].notes)


def test_a_folder_holds_several_runs(tmp_path):
    train = data()
    pipeline = f"finetune{{resume={tmp_path}}},mask{{sparsity=0.5}},finetune{{resume={tmp_path}}}"
    one = fxc.compress(net(), INPUTS, pipeline, train=train)
    assert len(list(tmp_path.iterdir())) == 2
    fxc.compress(net(), INPUTS, f"finetune{{epochs=2 resume={tmp_path}}}", train=train)
    assert len(list(tmp_path.iterdir())) == 3
    assert same(fxc.compress(net(), INPUTS, pipeline, train=train).module, one.module)


def test_a_damaged_state_is_named(tmp_path):
    options = f"epochs=1 resume={tmp_path}"
    run(options, loader())
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    for damaged in (b"", content[:100], content[: len(content) // 2], b"\0" * 64):
        file.write_bytes(damaged)
        with pytest.raises(fxc.FxcompressError, match="no training state"):
            run(options, loader())


SCRIPT = """
import sys, os, signal
sys.path.insert(0, {tests!r})
import test_resuming as t
class Slow(t.Sentenced):
    def __call__(self, outputs, targets):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return t.functional.cross_entropy(outputs, targets)
t.run({options!r}, t.loader(), Slow({step}))
"""


@pytest.mark.parametrize("step", [4, 16])
def test_a_process_that_is_killed(tmp_path, step):
    options = OPTIONS.format("adam")
    script = SCRIPT.format(tests=str(Path(__file__).parent), options=f"{options} resume={tmp_path}", step=step)
    places = [str(Path(fxc.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": str(torch.get_num_threads())},
        timeout=120,
    )
    assert done.returncode == -9
    assert len(list(tmp_path.iterdir())) == 1
    assert same(run(f"{options} resume={tmp_path}", loader()).module, run(options, loader()).module)
