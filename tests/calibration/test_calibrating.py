"""Calibration on a graph: observers see what a hook on the original model sees, and bad batches are named."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.calibration import MinMax, calibrate
from fxcompress.errors import InputError

IMAGE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()


def test_observers_see_what_hooks_see(model):
    module = fxc.capture(model, (IMAGE,)).module
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    batches = [torch.randn(size, 3, 8, 8) for size in (2, 5, 1)]
    node = next(node for node in module.graph.nodes if "relu" in node.name)
    (observer,) = calibrate(module, [node], [fxc.Inputs(batch) for batch in batches], lambda _: MinMax()).values()
    seen = torch.cat([model[:3](batch).detach().flatten() for batch in batches])
    least, most = observer.range(0, 255, symmetric=False)
    assert float(most) == pytest.approx(float(seen.max()), rel=1e-5)
    assert float(least) == float(seen.min())
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (torch.full((2, 3, 8, 8), float("nan")), "hold NaN"),
        (torch.full((2, 3, 8, 8), float("inf")), "%conv2d: values that are not finite"),
        (torch.empty(0, 3, 8, 8), "hold no values"),
        (torch.randn(2, 3, 9, 8), r"has shape \[2, 3, 9, 8\]"),
        (torch.randn(3, 8, 8), r"has shape \[3, 8, 8\]"),
    ],
)
def test_a_bad_batch_is_named_by_its_number(model, bad, why):
    module = fxc.capture(model, (IMAGE,)).module
    node = next(node for node in module.graph.nodes if node.name == "conv2d")
    with pytest.raises(InputError, match=rf"^calibration batch 2: .*{why}"):
        calibrate(module, [node], [fxc.Inputs(IMAGE), fxc.Inputs(IMAGE), fxc.Inputs(bad)], lambda _: MinMax())
