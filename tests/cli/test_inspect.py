"""`fxcompress inspect --axes` and `--why`: what is printed, for people and for programs, and what is refused."""

from __future__ import annotations

import json

import pytest

from fxcompress.cli import main

MODEL = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.norm, self.leave = nn.Linear(4, 16), nn.LayerNorm(16), nn.Linear(16, 4)
        self.hidden = nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16))

    def forward(self, x):
        x = self.enter(x)
        return self.leave(self.norm(x + self.hidden(x)))


def net():
    return Net().eval(), (torch.randn(3, 4),)
"""


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    (tmp_path / "model.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = 0
        try:
            main(["inspect", "model.py:net", *words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_axes_are_a_table_and_json(call):
    code, out, _ = call("--axes")
    assert code == 0
    # A neuron of `enter` is 4 weights and a bias; it goes to 24 neurons, a norm and 4 results, and is added to.
    elements = 4 + 1 + 24 + (24 + 1) + 2 + 4
    assert out.splitlines()[2].split()[:5] == ["enter.weight:0", "1", "16", "8", str(elements)]
    assert out.splitlines()[2].endswith("  no: %layer_norm normalises over it")
    assert out.splitlines()[3].split() == ["hidden.0.weight:0", "1", "24", "3", "33", "yes"]
    groups = json.loads(call("--axes", "--json")[1])["groups"]
    assert [one["slots"] for one in groups if one["pinned"] is None] == [16, 24]


def test_why_is_text_and_json(call):
    assert "hidden.0.weight:0: 24 slots, free" in call("--why", "hidden.0.weight")[1]
    (found,) = json.loads(call("--why", "leave.bias", "--json")[1])["slots"]
    assert found["pinned"] == "%linear_3:1 is a result of the model"
    assert [step["axis"] for step in found["steps"]] == ["%linear_3:1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--why", "entr.weight"), "error: the graph reads no tensor 'entr.weight'\n  hint: did you mean 'enter.w"),
        (("--why", "enter.weight:2"), "error: enter.weight has no dim '2'\n  hint: its dims are 0 to 1\n"),
        (("--axes", "--cost"), "error: --cost and --axes show different things\n  hint: give one of them\n"),
        (("--axes", "--why", "x"), "error: --axes and --why show different things\n  hint: give one of them\n"),
    ],
)
def test_wrong_calls_end_with_two_and_say_what_to_do(call, words, message):
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert err.startswith(message)
