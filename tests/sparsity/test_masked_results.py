"""What a masked result can be made: a file of each kind, the user's own module, a copy, a diff, a report."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.analysis.cost import cost
from fxcompress.sparsity import masks_of


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def drifted(model):
    """A masked result whose weights, masked ones too, an optimizer has changed; and what it gives in float64."""
    x = torch.randn(3, 3, 6, 6)
    result = fxc.compress(model, (x,), "mask{sparsity=0.7}")
    with torch.no_grad():
        for parameter in result.module.parameters():
            parameter.add_(0.1)
    plain = copy.deepcopy(model).double()
    state = result.module.state_dict()
    for name in ("conv", "head"):
        layer, mask = getattr(plain, name), state[f"{name}.weight_mask"]
        layer.weight.data = state[f"{name}.weight"].double() * mask
        layer.bias.data = state[f"{name}.bias"].double()
    return result, x, plain(x.double()).detach()


def same(got, want):
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)


def test_the_module_itself(drifted):
    result, x, want = drifted
    same(result.module(x), want)
    same(copy.deepcopy(result.module)(x), want)


def test_written_back(model, drifted):
    result, x, want = drifted
    fxc.write_back(model, result)
    same(model(x), want)
    assert int((model.conv.weight == 0).sum()) == round(0.7 * 216)
    assert masks_of(result.module)


def test_an_artifact(drifted, tmp_path):
    result, x, want = drifted
    result.save(tmp_path / "masked.fxc")
    loaded = fxc.load(tmp_path / "masked.fxc").captured.module
    same(loaded(x), want)
    assert torch.equal(loaded.conv.weight_mask, result.module.conv.weight_mask)
    again = fxc.compress(fxc.load(tmp_path / "masked.fxc"), (x,), "bake").module
    same(again(x), want)
    assert set(again.state_dict()) == {"conv.weight", "conv.bias", "head.weight", "head.bias"}


def test_a_program(drifted, tmp_path):
    result, x, want = drifted
    result.save(tmp_path / "masked.pt2")
    program = torch.export.load(tmp_path / "masked.pt2")
    same(program.module()(x), want)
    assert not any("masked" in str(node.target) for node in program.graph.nodes)


def test_onnx(drifted, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    result, x, want = drifted
    result.save(tmp_path / "masked.onnx")
    session = runtime.InferenceSession(tmp_path / "masked.onnx", providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    same(torch.from_numpy(got), want)


def test_a_mask_costs_no_multiplications(model, drifted):
    result, x, _ = drifted
    found = cost(result.module, inputs=fxc.Inputs(x))
    assert not found.unknown
    assert (found.macs, found.params) == (3 * (8 * 4 * 4 * 27 + 8 * 4), 216 + 8 + 32 + 4)


def test_fine_tuning_by_any_loop_leaves_masked_weights_out(model):
    x = torch.randn(16, 3, 6, 6)
    result = fxc.compress(model, (x,), "mask{sparsity=0.6 pattern=block:4x3}")
    module = result.module.train()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05, weight_decay=0.1)
    y = torch.randint(4, (16,))
    first = nn.functional.cross_entropy(module(x), y).item()
    for _ in range(20):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(x), y)
        loss.backward()
        optimizer.step()
    assert loss.item() < first
    baked = fxc.compress(result, None, "bake").module
    same(baked(x), module.eval()(x).detach().double())
    for name in ("conv", "head"):
        mask = module.state_dict()[f"{name}.weight_mask"]
        assert not baked.state_dict()[f"{name}.weight"][~mask].any()
        assert (~mask).any()
