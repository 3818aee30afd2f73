"""Processes that capture a teacher in turns write what one writes, to the byte."""

from __future__ import annotations

import tasks
import torch
from processes import found_of, run_ranks


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix}


def test_two_processes_capture_what_one_does(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ranks = found_of(run_ranks(2, "teaching", tmp_path / "two", seconds=120))
    alone = tasks.taught(tmp_path / "one")
    torch.set_num_threads(threads)
    assert alone["statistics"]["samples"] == 24
    assert alone["statistics"]["answered"] == 22
    assert files(tmp_path / "two" / "shared") == files(tmp_path / "one")
    for found in ranks:
        for key, one in alone["answers"].items():
            assert torch.equal(found["disk"]["answers"][key], one)
            assert torch.equal(found["memory"]["answers"][key], one)
            # In batches of other sizes sums are rounded in another order.
            torch.testing.assert_close(found["own"]["answers"][key], one)
            torch.testing.assert_close(found["again"]["answers"][key], one)
        assert found["disk"]["statistics"] == found["memory"]["statistics"] == alone["statistics"]
        assert found["own"]["statistics"]["samples"] == 22
        assert found["again"]["statistics"]["answered"] == 22 - 12
        assert found["again"]["notes"] == ("went on from 12 samples in " + str(tmp_path / "two" / "again"),)
        assert "cannot write" in found["told"][0]
        assert "round 0 of the batches holds others on rank 1" in found["told"][1]
