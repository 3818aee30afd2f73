"""The command line under torchrun: one report, one file, the same as without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from processes import HERE, free_port

import fxcompress as fxc
from fxcompress.cli import main

MODEL = """
import tasks
from torch.nn import functional

import fxcompress as fxc


def make():
    train = fxc.TrainingData(tasks.labelled(), functional.cross_entropy)
    return {"model": tasks.net(), "inputs": (tasks.images()[0],), "calibration": tasks.images(), "train": train}
"""
PIPELINE = "finetune{optimizer=sgd lr=0.1},quantize{scheme=w8a8-static}"


def torchrun(folder, *words, count=2):
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parent.parent), str(HERE)]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count)]
    command += ["--master-port", str(free_port()), "-m", "fxcompress", "compress", *words]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_torchrun_compresses_as_one_process_does(tmp_path, monkeypatch):
    (tmp_path / "model.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    words = ["model.py:make", "--pipeline", PIPELINE, "-q"]
    ended = torchrun(tmp_path, *words, "-o", "two.fxc", "--timeout", "50")
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ended.stdout.count("wrote two.fxc") == 1
    assert ended.stdout.count("parameters ") == 1
    main(["compress", *words, "-o", "one.fxc"])
    one, two = (fxc.load(Path(name)).captured.module.state_dict() for name in ("one.fxc", "two.fxc"))
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name].double(), two[name].double(), rtol=1e-4, atol=1.001)


@pytest.mark.slow
def test_what_is_wrong_ends_the_run_and_is_told_once_in_full(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    ended = torchrun(tmp_path, "model.py:make", "--pipeline", "quantize{targets=nothing}")
    assert ended.returncode != 0
    assert ended.stderr.count("hint: ") == 1
    assert "rank 1: error: step 1 of 1" in ended.stderr
