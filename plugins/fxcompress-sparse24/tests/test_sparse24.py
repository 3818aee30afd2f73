"""Linears with 2:4 weights: which are taken, what they become, and that the result stays."""

from __future__ import annotations

from dataclasses import replace

import fxcompress_sparse24
import pytest
import torch
from fxcompress_sparse24 import SPARSE_24
from fxcompress_sparse24.operator import linear
from torch import nn

import fxcompress as fxc
from fxcompress.contract import Linear
from fxcompress.contract.kernels import Weight
from fxcompress.lowering.gpu.devices import device_named

LOWER = "mask{pattern=2:4},lower{device=cuda}"
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="sparse tensor cores are those of a CUDA device")


class Net(nn.Module):
    def __init__(self, features=512, outputs=4096):
        super().__init__()
        self.up, self.down = nn.Linear(features, outputs), nn.Linear(outputs, features)

    def forward(self, x):
        return x + self.down(nn.functional.gelu(self.up(x)))


def plugins():
    found = fxc.Plugins(autoload=False)
    found.register(fxcompress_sparse24, "sparse24")
    return found


def compressed(text, net=None, rows=4096, dtype=torch.bfloat16):
    net = (net or Net()).eval().to(dtype)
    return fxc.compress(
        net, (torch.randn(rows, net.up.in_features).to(dtype),), text, plugins=plugins(), verify_run=False
    )


def kinds(result):
    details = result.stages[-1].details
    return [made["kind"] for made in (*details["lowered"].values(), *details["dense"].values())]


def test_the_hook_registers_the_kernel():
    assert plugins().kernels["sparse-24"] is SPARSE_24


def test_many_rows_of_2_4_weights_are_taken_and_give_the_same():
    net = Net()
    result = compressed(LOWER, net)
    assert kinds(result) == ["sparse-24", "sparse-24"]
    x = torch.randn(8, 512).to(torch.bfloat16)
    masked = compressed("mask{pattern=2:4},bake", net)
    state = {name: value.double() for name, value in masked.module.state_dict().items()}
    hidden = nn.functional.gelu(x.double() @ state["up.weight"].T + state["up.bias"])
    want = x.double() + hidden @ state["down.weight"].T + state["down.bias"]
    got = result.module(x).detach().double()
    assert float((got - want).abs().max() / want.abs().max()) < 2e-2


@pytest.mark.parametrize(
    ("text", "rows", "dtype", "why"),
    [
        ("mask{pattern=4:8},lower{device=cuda}", 4096, torch.bfloat16, "its weight is not 2:4"),
        (LOWER, 4, torch.bfloat16, "it has fewer than 64 rows"),
        (LOWER, 4096, torch.float32, "its weight is not of 16-bit floats"),
    ],
)
def test_others_are_refused_with_a_reason(text, rows, dtype, why):
    result = compressed(text, rows=rows, dtype=dtype)
    assert kinds(result) == ["dense", "dense"]
    assert {made["refused"]["sparse-24"] for made in result.stages[-1].details["dense"].values()} == {why}


def test_odd_sizes_are_refused():
    result = compressed(LOWER, Net(72, 4096))
    assert all("multiples" in made["refused"]["sparse-24"] for made in result.stages[-1].details["dense"].values())


def test_half_of_the_work_is_what_is_predicted():
    """Where the products and not the memory take the time, and both reach the same part of the floor."""
    one = Linear(("fc",), 1 << 16, torch.bfloat16, Weight(torch.zeros(8192, 8192, dtype=torch.bfloat16, device="meta")))
    device = replace(device_named("sm_90"), launch=0.0, fractions={"otherwise": 1.0})
    floor = 2 * one.rows * 8192 * 8192 / device.operations["bfloat16"] * 1e6
    assert SPARSE_24.cost(one, device) == pytest.approx(floor / 2)


def test_the_operator_keeps_torchs_rules():
    weight = torch.randn(32, 64).to(torch.bfloat16)
    torch.library.opcheck(linear, (torch.randn(2, 3, 64).to(torch.bfloat16), weight, None))


def test_saves_and_loads_where_the_operator_is_trusted(tmp_path):
    result, x = compressed(LOWER), torch.randn(8, 512).to(torch.bfloat16)
    path = tmp_path / "sparse.fxc"
    result.save(path, allow=["fxcompress_sparse24"])
    loaded = fxc.load(path, allow=["fxcompress_sparse24"])
    assert torch.equal(loaded.module(x), result.module(x))
    with pytest.raises(fxc.ArtifactError, match="allow list"):
        fxc.load(path)


@needs_gpu
def test_the_gpu_gives_what_the_cpu_gives():
    weight = torch.randn(256, 512)
    weight.view(256, -1, 4)[..., :2] = 0
    x, bias = torch.randn(96, 512), torch.randn(256)
    want = x.half().double() @ weight.half().double().T + bias.half().double()
    got = linear(*(one.half().cuda() for one in (x, weight, bias))).double().cpu()
    assert float((got - want).abs().max() / want.abs().max()) < 1e-2
