"""A process that is gone: the others say so at once, and the run goes on from what was saved."""

from __future__ import annotations

import pytest
import tasks
import torch
from processes import found_of, run_ranks
from torch.nn import functional

import fxcompress as fxc


@pytest.mark.parametrize("victim", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_the_others_are_told_in_bounded_time_and_a_new_run_goes_on(tmp_path, victim):
    ended = run_ranks(2, "dying", tmp_path, str(victim))
    assert ended[victim].code == 9
    assert ended[1 - victim].found, ended[1 - victim].stderr[-2000:]
    told = ended[1 - victim].found["told"]
    # At once, and not after the timeout of 40 seconds.
    assert ended[1 - victim].found["seconds"] < 20
    assert "finetune" in told
    assert f"on rank {1 - victim}: another process is gone" in told
    assert "resume" in told
    again = found_of(run_ranks(2, "dying", tmp_path, "nobody"))
    whole = uninterrupted()
    for found in again:
        assert any("went on from" in note for note in found["notes"])
        for name, one in whole.items():
            torch.testing.assert_close(found["tensors"][name], one, rtol=1e-9, atol=1e-9)


def uninterrupted():
    """What one process comes to that is not killed."""
    data = fxc.TrainingData(tasks.labelled(kind=torch.float64), functional.cross_entropy)
    text = "finetune{epochs=3 optimizer=sgd lr=0.1}"
    return fxc.compress(tasks.captured(kind=torch.float64), None, text, train=data, seed=7).module.state_dict()
