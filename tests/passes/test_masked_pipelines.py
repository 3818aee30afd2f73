"""Every pass behind a mask: the same as on a model whose weights were set to zero by hand before it was captured."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.sparsity import masks_of

THEN = {
    "bake": set(),
    "clip{limit=0.2}": {"conv", "mid", "head"},
    "convert": {"conv", "mid", "head"},
    "eliminate-dead-nodes": {"conv", "mid", "head"},
    "equalize": {"conv", "mid", "head"},
    "fake-quantize": {"conv", "mid", "head"},
    "fold-bn": {"conv", "mid", "head"},
    "finetune{epochs=1}": {"conv", "mid", "head"},
    "cluster": set(),
    "fold-constants": {"conv", "mid", "head"},
    "lower{measure=false}": set(),
    "mask{sparsity=0.7}": {"conv", "mid", "head"},
    "merge": {"conv", "mid", "head"},
    "merge{similarity=0.5}": {"conv", "mid", "head"},
    "prune{ratio=0.5 round_to=1}": {"conv", "mid", "head"},
    "prune{ratio=0.5 round_to=1},reconstruct{all=true}": {"head"},
    "prune{ratio=0.5 round_to=1 steps=2}": {"conv", "mid", "head"},
    "quantize": set(),
    "quantize{ignore=mid}": {"mid"},
    "quantize{scheme=w4a16 rounding=learned}": set(),
    "quantize,lower{measure=false}": set(),
    "sensitivity": {"conv", "mid", "head"},
    "smooth{insert=true}": {"conv", "mid", "head"},
}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.mid, self.head = nn.Linear(8, 32), nn.Linear(32, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x))).mean((2, 3))
        return self.head(torch.relu(self.mid(x)))


def net():
    torch.manual_seed(0)
    made = Net()
    with torch.no_grad():
        made.norm.running_mean.normal_()
        made.norm.running_var.uniform_(0.5, 2)
    return made.eval()


def zeroed(model, share=0.5):
    """A copy whose weights of the smallest magnitudes are zero, by numpy's sort."""
    made = copy.deepcopy(model)
    with torch.no_grad():
        for layer in (made.conv, made.mid, made.head):
            order = layer.weight.flatten().abs().numpy().argsort(kind="stable")
            layer.weight.view(-1)[torch.from_numpy(order[: round(share * len(order))])] = 0
    return made


def data():
    torch.manual_seed(1)
    inputs = (torch.randn(4, 3, 6, 6),)
    calibration = [(torch.randn(4, 3, 6, 6),) for _ in range(3)]
    train = fxc.TrainingData([(one, torch.tensor([0, 1, 2, 3])) for one in calibration], nn.functional.cross_entropy)
    return inputs, {"calibration": calibration, "train": train}


@pytest.mark.parametrize("text", THEN)
def test_a_pass_behind_a_mask_does_what_it_does_to_plain_zeros(text):
    inputs, given = data()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        masked = fxc.compress(net(), inputs, f"mask,{text}", **given)
    plain = fxc.compress(zeroed(net()), inputs, text, **given)
    assert {path.removesuffix(".weight") for path in masks_of(masked.module)} == THEN[text]
    # What is trained has other zeros without a mask, and reconstruct fits to the captured model.
    if not any(word in text for word in ("steps", "finetune", "reconstruct")):
        torch.testing.assert_close(masked.module(*inputs), plain.module(*inputs), rtol=1e-5, atol=1e-6)
    for path, mask in masks_of(masked.module).items():
        weight = masked.module.get_parameter(path)
        assert not weight[~mask].any()
        assert mask.shape == weight.shape


@pytest.mark.parametrize("text", ["mask,prune{ratio=0.5 round_to=1}", "mask,fake-quantize", "mask,smooth{insert=true}"])
def test_masks_that_came_back_hold_in_training_and_in_a_file(text, tmp_path):
    inputs, given = data()
    result = fxc.compress(net(), inputs, text, **given)
    module = result.module.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01, weight_decay=0.1)
    before = module.mid.weight.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        module(*inputs).square().sum().backward()
        optimizer.step()
    module.eval()
    assert not torch.equal(before, module.mid.weight)
    result.save(tmp_path / "masked.fxc")
    loaded = fxc.load(tmp_path / "masked.fxc").captured.module
    assert torch.equal(loaded(*inputs), module(*inputs))
    assert set(masks_of(loaded)) == {"conv.weight", "mid.weight", "head.weight"}
    baked = fxc.compress(result, None, "bake").module
    torch.testing.assert_close(baked(*inputs), module(*inputs), rtol=1e-6, atol=1e-6)
    assert not any("mask" in name for name in baked.state_dict())
