"""Sensitivity and what is kept because of it, against models quantized one layer at a time by hand."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.errors import StepFailed
from fxcompress.quantizing.keeping import Wish, fewest_kept
from fxcompress.quantizing.sensitivity import Score


class Net(nn.Module):
    """Layers that read one value, a tied pair, a view of a weight, and one layer that bears no rounding at all."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(12, 16)
        self.left, self.right = nn.Linear(16, 16), nn.Linear(16, 16)
        self.tied = nn.Linear(16, 16)
        self.tied.weight = self.right.weight
        self.matrix = nn.Parameter(torch.randn(16, 16) / 4)
        self.head = nn.Linear(16, 5)
        with torch.no_grad():
            # Large weights beside small ones leave these no steps.
            self.left.weight[:, 3] = 20.0

    def forward(self, x):
        x = torch.tanh(self.stem(x))
        wide = self.left(x)
        x = self.right(x) + torch.sin(wide) + self.tied(x)
        return {"scores": self.head(torch.relu(x) @ self.matrix.t()), "wide": x}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def captured(net, batches):
    return fxc.capture(net, (batches[0],))


@pytest.fixture(scope="module")
def batches():
    torch.manual_seed(1)
    return [torch.randn(rows, 12) for rows in (8, 8, 5)]


def decibels(model, other, batches):
    """Signal to noise over all batches as numpy has it, of all results taken as one vector."""
    rows = [[], []]
    with torch.no_grad():
        for batch, (row, one) in itertools.product(batches, zip(rows, (model, other), strict=True)):
            row += [value.double().numpy().ravel() for value in one(batch).values()]
    want, got = (np.concatenate(row) for row in rows)
    return 10 * math.log10((want**2).sum() / ((want - got) ** 2).sum())


# Every weight, and what targets call its layer: a weight behind a view is named by the layer.
WEIGHTS = dict.fromkeys(("stem.weight", "left.weight", "tied.weight", "head.weight")) | {"matrix": "matmul"}


@pytest.mark.parametrize("scheme", ["w8a16", "w4a16", "w8a8", "w8a8-static", "bf16"])
def test_scores_are_those_of_models_with_one_layer_quantized(net, captured, batches, scheme):
    options = f"scheme={scheme} group=4"
    result = fxc.compress(captured, None, f"sensitivity{{{options}}}", calibration=batches)
    found = result.stages[0].details["sensitivity"]
    assert set(found) == set(WEIGHTS)
    assert not result.stages[0].changed
    ratios = [row["sqnr_db"] for row in found.values()]
    assert ratios == sorted(ratios)
    for path, layer in WEIGHTS.items():
        alone = fxc.compress(captured, None, f"quantize{{{options} targets={layer or path}}}", calibration=batches)
        assert list(alone.stages[0].details["quantized"]) == [path]
        assert found[path]["sqnr_db"] == pytest.approx(decibels(net, alone.module, batches), abs=0.02)
        assert found[path]["error"] == pytest.approx(10 ** (-found[path]["sqnr_db"] / 20))
    whole = fxc.compress(captured, None, f"quantize{{{options}}}", calibration=batches)
    assert result.stages[0].details["whole"]["sqnr_db"] == pytest.approx(decibels(net, whole.module, batches), abs=0.02)


def test_evaluate_sees_every_model(net, captured, batches):
    def evaluate(module):
        with torch.no_grad():
            return float(module(batches[2])["scores"].square().sum())

    result = fxc.compress(
        net, (batches[0],), "sensitivity{scheme=w4a16 group=4}", calibration=batches, evaluate=evaluate
    )
    for path, layer in WEIGHTS.items():
        alone = fxc.compress(captured, None, f"quantize{{scheme=w4a16 group=4 targets={layer or path}}}")
        assert result.stages[0].details["sensitivity"][path]["metric"] == pytest.approx(
            evaluate(alone.module), rel=1e-4
        )
    assert "metric" in str(result.stages[0].details["ranking"])


def test_example_inputs_serve_where_there_is_no_data(net, captured, batches):
    stage = fxc.compress(captured, None, "sensitivity").stages[0]
    assert "no calibration data: sensitivity is measured on the example inputs" in stage.notes
    with_data = fxc.compress(captured, None, "sensitivity", calibration=batches[:1]).stages[0]
    assert stage.details["sensitivity"] == with_data.details["sensitivity"]


def test_a_generator_is_read_once(net, captured, batches):
    text = "quantize{scheme=w8a8-static keep=1}"
    found = [fxc.compress(captured, None, text, calibration=data).stages[0] for data in (batches, iter(batches))]
    assert found[0].details["sensitivity"] == found[1].details["sensitivity"]
    assert found[0].details["activations"] == found[1].details["activations"]


def test_a_bad_batch_is_named(net, captured, batches):
    with pytest.raises(StepFailed, match=r"batch 1: .*NaN"):
        fxc.compress(captured, None, "sensitivity", calibration=[batches[0], batches[0] * float("nan")])


def test_keep_leaves_the_most_sensitive_in_floats(net, captured, batches):
    result = fxc.compress(captured, None, "quantize{scheme=w4a16 group=4 keep=2}", calibration=batches)
    details = result.stages[0].details
    scores = fxc.compress(captured, None, "sensitivity{scheme=w4a16 group=4}", calibration=batches).stages[0].details
    worst = list(scores["sensitivity"])[:2]
    assert details["kept"] == worst
    assert set(details["quantized"]) == set(WEIGHTS) - set(worst)
    for path in worst:
        assert torch.equal(result.module.get_parameter(path), net.get_parameter(path))
    assert details["sqnr_db"] == pytest.approx(decibels(net, result.module, batches), abs=0.02)
    assert any(f"{worst[0]}, {worst[1]}: left in floats" in note for note in result.stages[0].notes)


def test_min_sqnr_keeps_as_few_as_it_takes(net, captured, batches):
    for floor in (12, 20, 26):
        text = f"quantize{{scheme=w4a16 group=4 min-sqnr={floor}}}"
        result = fxc.compress(captured, None, text, calibration=batches)
        kept = result.stages[0].details["kept"]
        assert decibels(net, result.module, batches) >= floor
        if kept:
            fewer = f"quantize{{scheme=w4a16 group=4 keep={len(kept) - 1}}}"
            less = fxc.compress(captured, None, fewer, calibration=batches)
            assert decibels(net, less.module, batches) < floor
    assert str(fxc.Pipeline.parse(text)) == "quantize{scheme=w4a16 group=4 min_sqnr=26.0}"


def test_what_cannot_be_reached_is_said(net, captured, batches):
    with pytest.raises(
        StepFailed, match=r"no layer can be quantized: with .* alone .* dB, and min-sqnr asks for 150"
    ) as error:
        fxc.compress(captured, None, "quantize{scheme=w2a16 group=4 min-sqnr=150}", calibration=batches)
    assert "more bits" in str(error.value)


def test_the_search_finds_the_smallest_number_with_few_measurements():
    """Against trying all numbers, for errors that do not merely add up."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        count = int(torch.randint(2, 60, (1,), generator=generator))
        noises = torch.rand(count, generator=generator).pow(4).sort(descending=True).values.tolist()
        factor = float(torch.rand(1, generator=generator)) * 4 + 0.2
        floor = float(torch.rand(1, generator=generator)) * 30 - 5
        asked = []

        def measure(kept, noises=noises, factor=factor, asked=asked):
            asked.append(kept)
            return -10 * math.log10(factor * sum(noises[kept:]) + 1e-12)

        scores = [Score(str(place), -10 * math.log10(noise + 1e-12), noise) for place, noise in enumerate(noises)]
        good = [kept for kept in range(count) if measure(kept) >= floor]
        asked.clear()
        if not good:
            with pytest.raises(fxc.FxcompressError, match="no layer can be quantized"):
                fewest_kept(scores, measure, Wish(0, floor, None), 0)
        else:
            assert fewest_kept(scores, measure, Wish(0, floor, None), 0) == good[0]
        assert len(asked) == len(set(asked)) <= 2 * math.log2(count) + 3


KILLED = """
import sys, time
sys.path.insert(0, {folder!r})
from test_sensitivity import Net
import torch, fxcompress as fxc
from fxcompress.quantizing import ledger
ledger.SECONDS_BETWEEN_WRITES = 0.0
calls = []

def evaluate(module):
    calls.append(1)
    with open({log!r}, "a") as log:
        log.write("x")
    if {slow!r} and len(calls) > 2:
        time.sleep(60)
    with torch.no_grad():
        return float(module(torch.ones(1, 12))["scores"].sum())

torch.manual_seed(0)
net = Net().eval()
batches = [torch.full((4, 12), float(number)) for number in range(1, 4)]
stage = fxc.compress(net, (batches[0],), "sensitivity{{scheme=w4a16 resume={file}}}", calibration=batches,
                     evaluate=evaluate).stages[0]
print(stage.details["sensitivity"])
"""


def run(tmp_path, slow, log, file="scores.json"):
    script = KILLED.format(folder=str(Path(__file__).parent), log=str(log), slow=slow, file=tmp_path / file)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment, text=True)


def test_a_killed_run_goes_on(tmp_path):
    log, again, fresh = tmp_path / "log", tmp_path / "again", tmp_path / "fresh"
    process = run(tmp_path, True, log)
    deadline = time.monotonic() + 60
    while (not log.exists() or len(log.read_text()) < 3) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = json.loads((tmp_path / "scores.json").read_text())
    assert len(kept["metrics"]) == 2
    assert all(len(rows) == 3 for rows in kept["noises"].values())
    resumed, _ = run(tmp_path, False, again).communicate(timeout=60)
    whole, _ = run(tmp_path, False, fresh, "fresh.json").communicate(timeout=60)
    assert resumed == whole != ""
    # One more evaluation than weights: that of the model with all of them quantized.
    assert (len(again.read_text()), len(fresh.read_text())) == (len(WEIGHTS) + 1 - 2, len(WEIGHTS) + 1)


def test_scores_of_something_else_are_refused(net, captured, batches, tmp_path):
    path = tmp_path / "scores.json"
    text = f"sensitivity{{resume={path}}}"
    fxc.compress(captured, None, text, calibration=batches)
    fxc.compress(captured, None, text, calibration=batches)
    with pytest.raises(StepFailed, match="another model, other data or other options"):
        fxc.compress(captured, None, text, calibration=batches[:2])
    with pytest.raises(StepFailed, match="another model, other data or other options"):
        fxc.compress(captured, None, f"sensitivity{{scheme=w4a16 resume={path}}}", calibration=batches)
    path.write_text("[]")
    with pytest.raises(StepFailed, match="holds no scores of sensitivity"):
        fxc.compress(captured, None, text, calibration=batches)


def test_the_report_shows_them(net, captured, batches):
    result = fxc.compress(captured, None, "quantize{scheme=w4a16 group=4 keep=1}", calibration=batches)
    text, page, found = str(result.report), result.report.to_html(), result.report.to_dict()
    assert "Sensitivity: the results with only this weight quantized:" in text
    assert "Layers that lose most:" in text
    kept = result.stages[0].details["kept"][0]
    assert kept.replace(".", ".<wbr>") in page
    assert found["steps"][0]["ranking"]["rows"][0]["name"] == kept
    errors = {layer.scope: layer.sqnr_db for layer in result.report.layers}
    assert found["worst_layers"][0] == min(
        (scope for scope in errors if errors[scope] is not None), key=lambda scope: errors[scope]
    )


@pytest.mark.parametrize(
    ("scheme", "fallback"), [("w2a16", "w8a16"), ("w8a8-static", "w8a8"), ("w4a16", "w8a8-static")]
)
def test_what_is_kept_may_have_a_scheme_of_its_own(net, captured, batches, scheme, fallback):
    """Against the model for which every scheme is named by hand."""
    text = f"quantize{{scheme={scheme} group=4 keep=2 fallback={fallback}}}"
    result = fxc.compress(captured, None, text, calibration=batches)
    kept, found = result.stages[0].details["kept"], result.stages[0].details["quantized"]
    assert set(found) == set(WEIGHTS)
    own = ",".join(f"{WEIGHTS[path] or path}:{fallback}" for path in kept)
    by_hand = f"quantize{{scheme={scheme} group=4 schemes={own}}}"
    other = fxc.compress(captured, None, by_hand, calibration=batches)
    assert result.stages[0].details["sqnr_db"] == pytest.approx(decibels(net, other.module, batches), abs=0.02)
    assert f"left in {fallback}" in " ".join(result.stages[0].notes)


def test_a_fallback_is_searched_for_too(net, captured, batches):
    reached = []
    for floor in (10, 15, 20):
        text = f"quantize{{scheme=w2a16 group=4 min-sqnr={floor} fallback=w8a16}}"
        result = fxc.compress(captured, None, text, calibration=batches)
        assert decibels(net, result.module, batches) >= floor
        assert set(result.stages[0].details["quantized"]) == set(WEIGHTS)
        reached.append(len(result.stages[0].details["kept"]))
    assert reached == sorted(reached)
    with pytest.raises(StepFailed, match=r"even with all weights in w8a16 the results have"):
        fxc.compress(captured, None, "quantize{scheme=w2a16 group=4 min-sqnr=90 fallback=w8a16}", calibration=batches)
