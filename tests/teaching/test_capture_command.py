"""capture-teacher from the command line, and what it wrote read by a program."""

import sys
from pathlib import Path

import pytest
import torch
from taught_nets import pictures

import fxcompress as fxc
from fxcompress.cli import main

MODEL = f"""
import sys

import torch

sys.path.insert(0, {str(Path(__file__).parent)!r})
from taught_nets import pictures

import fxcompress as fxc


def trained():
    model, inputs = pictures()
    images = torch.randn(20, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    train = fxc.TrainingData([(batch, None) for batch in images.split(8)])
    return {{"model": model, "inputs": inputs, "train": train, "calibration": [images[:4]]}}
"""


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    (tmp_path / "captured_model.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("fxcompress.reporting.LATENCY_SECONDS", 0.05)


def run(pipeline, *options):
    """Run the command and return its exit code."""
    try:
        main(["compress", "captured_model.py:trained", "--pipeline", pipeline, "-q", *options])
    except SystemExit as ended:
        return ended.code
    return 0


@pytest.mark.parametrize(("options", "count"), [("", 20), (" data=calibration", 4)])
def test_answers_are_captured_and_read(options, count, capsys):
    pipeline = f"capture-teacher{{taps=logits|topk:2,layers.*|pool sink=disk to=answers{options}}}"
    assert run(pipeline) == 0
    out = capsys.readouterr().out
    assert f"samples: {count}" in " ".join(out.split())
    teacher = fxc.CachedTeacher("answers")
    assert len(teacher) == count
    model, _ = pictures()
    images = torch.randn(20, 3, 6, 6, generator=torch.Generator().manual_seed(1))[:4]
    with torch.no_grad():
        largest = model(images)["logits"].topk(2)
    found = teacher.answers(fxc.Inputs(images))
    torch.testing.assert_close(found["output.logits|topk:2.values"], largest.values, rtol=1e-5, atol=1e-6)
    assert torch.equal(found["output.logits|topk:2.indices"], largest.indices)


def test_what_is_wrong_is_said(capsys):
    assert run("capture-teacher{sink=disk}") == 1
    assert "sink=disk needs a folder" in capsys.readouterr().err
    assert run("capture-teacher{taps=layer.0}") == 1
    assert "near are: layers.0 f32[b, 4, 6, 6]" in capsys.readouterr().err


def test_the_trajectory_is_shown_where_it_is_asked_for(capsys):
    assert run("fold-bn", "--trajectory") == 0
    assert "What each pass lost and won back" in capsys.readouterr().out
