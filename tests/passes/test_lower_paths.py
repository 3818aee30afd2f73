"""The code of a lowered graph looks each submodule up once, and gives the same."""

from __future__ import annotations

import copy

import torch
from torch import nn

import fxcompress as fxc
from fxcompress.lowering.paths import with_owners


def test_lines():
    lines = [
        'one = getattr(self.a, "0").weight\n', "two: f32 = self.a.b.scale\n", "three = one + two;  one = None\n",
        "four = self.top;  three = None\n", 'five = getattr(self.a, "0").bias;  four = None\n',
    ]  # fmt: skip
    root = nn.Module()
    root.a = nn.Module()
    root.a.add_module("0", nn.Linear(2, 2))
    root.a.b, root.top = nn.Module(), torch.ones(1)
    root.a.b.scale = torch.ones(2)
    made = with_owners(lines)
    assert sum("self._modules['a']" in line for line in made) == 1
    found = {"self": root, "f32": float}
    exec("".join(made), found)
    linear = root.a._modules["0"]
    assert found["five"] is linear.bias
    assert found["two"] is root.a.b.scale
    assert found["one"] is None
    assert "three = one + two;  one = None\n" in made


def test_a_lowered_model_and_its_copy():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Sequential(nn.Conv1d(4, 8, 3), nn.ReLU()), nn.Sequential(nn.Conv1d(8, 4, 3))).eval()
    x = torch.randn(2, 4, 9)
    plain, lowered = (fxc.compress(model, (x,), f"quantize{more}").module for more in ("", ",lower"))
    assert "_owner_1" in lowered.code
    assert torch.allclose(lowered(x), plain(x), atol=1e-5)
    other = copy.deepcopy(lowered)
    with torch.no_grad():
        next(buffer for name, buffer in other.named_buffers() if name.endswith("scale")).mul_(2)
    assert not torch.allclose(other(x), plain(x), atol=1e-3)
    assert torch.allclose(lowered(x), plain(x), atol=1e-5)
