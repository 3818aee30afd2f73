"""The zoo of benchmarks/ is whole, and its comparison of results tells right from wrong; nothing is built here."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def zoo(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import zoo

    yield zoo
    for name in [name for name in sys.modules if name == "zoo" or name.startswith(("zoo_models", "zoo_running"))]:
        del sys.modules[name]


def test_the_zoo_has_175_models(zoo):
    from zoo_models import HEAVY, entries

    found = list(entries())
    assert len(found) == len({entry.name for entry in found}) == 175
    assert Counter(entry.library for entry in found) == {"torchvision": 78, "timm": 67, "transformers": 30}
    assert {entry.name.partition("/")[2] for entry in found} >= HEAVY


def test_relative_error(zoo):
    want = {"a": torch.tensor([3.0, 4.0]), "b": (torch.zeros(2), None)}
    assert zoo.relative_error(want, want) == 0
    got = {"a": torch.tensor([3.0, 4.5]), "b": (torch.zeros(2), None)}
    assert zoo.relative_error(got, want) == pytest.approx(0.1)
    assert zoo.relative_error({"a": torch.full((2,), torch.nan), "b": (torch.zeros(2), None)}, want) == float("inf")
    assert zoo.relative_error({"a": want["a"], "c": (torch.zeros(2), None)}, want) == float("inf")
    assert zoo.relative_error({"a": want["a"]}, want) == float("inf")


def test_a_model_that_is_not_there_is_a_row(zoo):
    from zoo_running import in_process

    row = in_process(zoo._command("transformers/nothing", ""), "transformers/nothing", 120.0)
    assert row["status"] == "died"
    assert row["name"] == "transformers/nothing"
