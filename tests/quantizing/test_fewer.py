"""Single weights are compared on some of the data: what is taken of it, and that the promise holds on all of it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import fxcompress as fxc
from fxcompress.analysis.fidelity import sqnr_db
from fxcompress.quantizing.fewer import fewer
from fxcompress.quantizing.keeping import ROWS_TO_TELL_BY


class Net(nn.Module):
    """Layers of which some bear rounding badly."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(24, 24) for _ in range(5)))
        with torch.no_grad():
            for layer in self.layers[1::2]:
                layer.weight[:, :2] *= 15

    def forward(self, x):
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return x


@pytest.fixture(scope="module")
def captured():
    torch.manual_seed(0)
    return fxc.capture(Net().eval(), (torch.randn(4, 24),))


@pytest.fixture(scope="module")
def fixed():
    torch.manual_seed(0)
    return fxc.capture(Net().eval(), (torch.randn(4, 24),), dynamic=False)


def numbered(sizes):
    """Batches whose samples are numbered."""
    numbers = torch.arange(float(sum(sizes)))[:, None].expand(-1, 24)
    return [fxc.Inputs(one) for one in numbers.split(sizes)]


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6), share=st.floats(0.01, 1))
def test_a_share_from_all_over_the_data(captured, sizes, share):
    found = fewer(captured.module, numbered(sizes), share)
    taken = [int(row) for batch in found for row in batch.args[0][:, 0]]
    assert len(taken) == math.ceil(sum(sizes) * share)
    assert taken == sorted(set(taken))
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    for start, size in zip(starts, sizes, strict=True):
        here = [number for number in taken if start <= number < start + size]
        assert abs(len(here) - size * share) < 1
        assert here == list(range(start, start + len(here)))


def test_batches_of_a_fixed_size_stay_whole(fixed):
    batches = numbered([4] * 8)
    found = fewer(fixed.module, batches, 0.25)
    assert len(found) == 2
    assert all(any(one is batch for batch in batches) for one in found)
    assert len(fewer(fixed.module, batches, 1e-9)) == 1


def test_what_is_asked_for_is_reached_on_all_of_the_data(captured):
    generator = torch.Generator().manual_seed(3)
    batches = [(torch.randn(200, 24, generator=generator),) for _ in range(4)]
    assert sum(len(batch[0]) for batch in batches) > ROWS_TO_TELL_BY
    text = "quantize{scheme=w8a8-static min-sqnr=34}"
    stage = (result := fxc.compress(captured, None, text, calibration=batches)).stages[0]
    assert stage.notes[0] == "single weights are measured on 32% of the data, whole models on all of it"
    kept = stage.details["kept"]
    assert 0 < len(kept) < 5
    with torch.no_grad():
        want, got = (torch.cat([one(*batch) for batch in batches]) for one in (captured.module, result.module))
    assert sqnr_db(want, got) >= 34
    assert stage.details["sqnr_db"] == pytest.approx(sqnr_db(want, got), abs=0.01)


@pytest.mark.parametrize("options", ["w8a8-static", "w4a16 group=4", "w8a8-static bias-correction=true"])
def test_what_is_known_already_is_what_would_be_found_anew(captured, options):
    batches = [(torch.randn(8, 24, generator=torch.Generator().manual_seed(1)),)]
    spared = fxc.compress(captured, None, f"quantize{{scheme={options} keep=2}}", calibration=batches)
    kept = spared.stages[0].details["kept"]
    plain = f"quantize{{scheme={options} ignore={','.join(kept)}}}"
    anew = fxc.compress(captured, None, plain, calibration=batches)
    mine, theirs = (one.module.state_dict() for one in (spared, anew))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert spared.stages[0].details["activations"] == anew.stages[0].details["activations"]
    with torch.no_grad():
        assert torch.equal(spared.module(*batches[0]), anew.module(*batches[0]))
