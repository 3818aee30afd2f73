"""Samples of the values in a run."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.pipeline.trace import SAMPLES, trace


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_samples_are_evenly_spaced_over_each_value(dtype):
    model = nn.Sequential(nn.Linear(7, 5), nn.Tanh()).to(dtype).eval()
    inputs = torch.randn(40, 7, dtype=dtype)
    captured = fxc.capture(model, (inputs,))
    found = trace(captured.module, captured.inputs, 0).samples
    with torch.no_grad():
        want = {
            "linear": model[0](inputs),
            "tanh": model(inputs),
            captured.module.graph.find_nodes(op="placeholder")[0].name: inputs,
        }
    for name, value in want.items():
        flat = value.flatten().double()
        step = max(1, len(flat) // SAMPLES)
        picked = [flat[place] for place in range(0, len(flat), step)]
        assert torch.equal(found[name].values, torch.stack(picked))
        assert found[name].magnitude == pytest.approx(float(flat.abs().mean()), rel=1e-2)


def test_samples_stand_in_one_piece_of_memory():
    """Each for itself they would keep the allocator from using the places of large values again."""
    captured = fxc.capture(nn.Sequential(*(nn.Linear(8, 8) for _ in range(4))).eval(), (torch.randn(3, 8),))
    found = trace(captured.module, captured.inputs, 0).samples
    assert len({sample.values.untyped_storage().data_ptr() for sample in found.values()}) == 1
    assert len({sample.values.data_ptr() for sample in found.values()}) == len(found)
