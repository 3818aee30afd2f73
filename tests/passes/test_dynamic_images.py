"""Convolutions whose images are rounded by their own ranges: quantized, trained so, and lowered."""

from __future__ import annotations

import copy

import pytest
import torch
from nets import operations
from quantized_nets import near
from torch import nn

import fxcompress as fxc
from fxcompress.kernels.backends import VARIABLE, read_again
from fxcompress.lowering import choosing_images

LOWER = "quantize{scheme=w8a8},lower{measure=false}"
LAYERS = {
    "conv1d": (nn.Conv1d(8, 12, 3, 2, 1), (3, 8, 20)),
    "conv2d": (nn.Conv2d(3, 12, 3, padding=1), (3, 3, 9, 8)),
    "conv3d": (nn.Conv3d(4, 6, 2), (3, 4, 5, 6, 7)),
    "grouped": (nn.Conv2d(8, 12, 3, groups=4), (3, 8, 9, 8)),
    "same": (nn.Conv2d(4, 8, 3, padding="same"), (3, 4, 6, 6)),
    "transposed1d": (nn.ConvTranspose1d(8, 5, 3), (3, 8, 20)),
    "transposed2d": (nn.ConvTranspose2d(8, 5, 3, 2), (3, 8, 6, 7)),
    "alone1d": (nn.Conv1d(8, 12, 3), (8, 20)),
    "alone2d": (nn.Conv2d(3, 12, 3), (3, 9, 8)),
    "alone transposed": (nn.ConvTranspose2d(8, 5, 3), (8, 6, 7)),
}


@pytest.fixture(params=["", "native", "native,onednn"])
def _without(request, monkeypatch):
    monkeypatch.setenv(VARIABLE, request.param)
    read_again()
    yield
    monkeypatch.undo()
    read_again()


def rounded_by_hand(image: torch.Tensor) -> torch.Tensor:
    """The numbers of one image in steps of its range."""
    least, most = min(0.0, float(image.min())), max(0.0, float(image.max()))
    step = (most - least) / 255
    zero = round(-least / step)
    return ((image.double() / step).round() + zero).clamp(0, 255).sub(zero) * step


def weights_by_hand(weight: torch.Tensor, axis: int) -> torch.Tensor:
    """Each output channel in 127 steps of its largest."""
    largest = weight.abs().amax([dim for dim in range(weight.dim()) if dim != axis], keepdim=True).double()
    return (weight.double() * 127 / largest).round() * largest / 127


def compressed(name: str, text: str, image: torch.Tensor) -> fxc.Result:
    """The result for the layer of that name."""
    return fxc.compress(LAYERS[name][0], (image,), text, dynamic="none" if "alone" in name else "batch")


@pytest.mark.parametrize("name", LAYERS)
def test_each_image_has_its_range(name):
    torch.manual_seed(0)
    layer, shape = LAYERS[name]
    image = torch.randn(shape)
    if "alone" not in name:
        image *= torch.tensor([1e-3, 1.0, 50.0]).view(-1, *[1] * (len(shape) - 1))
    module = compressed(name, "quantize{scheme=w8a8}", image).module
    exact = copy.deepcopy(layer).double()
    exact.weight.data = weights_by_hand(layer.weight.detach(), int("transposed" in name))
    samples = [image] if "alone" in name else list(image.split(1))
    with torch.no_grad():
        want = [exact(rounded_by_hand(one)) for one in samples]
        made = [module(image)] if "alone" in name else module(image).split(1)
    for have, one, sample in zip(made, want, samples, strict=True):
        # A number that stands between two steps may fall to either.
        assert float((have.double() - one).norm() / one.norm()) < 1e-3, name
        assert float((have - layer(sample)).detach().norm() / layer(sample).detach().norm()) < 0.03


@pytest.mark.usefixtures("_without")
@pytest.mark.parametrize("name", LAYERS)
def test_lowered_as_quantized(name):
    torch.manual_seed(0)
    image = torch.randn(LAYERS[name][1])
    plain, lowered = (compressed(name, text, image) for text in ("quantize{scheme=w8a8}", LOWER))
    with torch.no_grad():
        assert near(lowered.module(image), plain.module(image), 2e-2)
    assert not any("quantize_per" in one for one in operations(lowered.module))


class Branches(nn.Module):
    """An image that three read, a residual, a view, a convolution right behind another, and pooling."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 1), nn.Conv2d(16, 8, 1)
        self.d, self.e = nn.Conv2d(16, 16, 3, padding=1, groups=2), nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16 * 16 + 8 * 64, 5)

    def forward(self, x):
        x = torch.relu(x)
        y = torch.relu(self.a(x) + self.b(x))
        z = torch.nn.functional.silu(self.e(self.d(y)) + y)
        pooled = nn.functional.max_pool2d(z, 2)
        return self.head(torch.cat([pooled.view(pooled.size(0), -1), self.c(x).view(x.size(0), -1)], 1))


@pytest.mark.usefixtures("_without")
def test_a_network_of_all_that_may_stand_around(tmp_path):
    torch.manual_seed(0)
    model, x = Branches().eval(), torch.randn(2, 16, 8, 8)
    plain, lowered = (fxc.compress(model, (x,), text) for text in ("quantize{scheme=w8a8}", LOWER))
    other = torch.randn(5, 16, 8, 8)
    with torch.no_grad():
        want = lowered.module(other)
        assert near(want, plain.module(other), 3e-2)
        assert torch.equal(copy.deepcopy(lowered.module)(other), want)
        lowered.save(tmp_path / "m.fxc")
        assert torch.equal(fxc.load(tmp_path / "m.fxc").module(other), want)


def test_one_rounding_serves_all_who_read_it():
    torch.manual_seed(0)
    model, x = Branches().eval(), torch.randn(2, 16, 8, 8)
    quantized = fxc.compress(model, (x,), "quantize{scheme=w8a8}")
    assert operations(quantized.module).count("quantized_decomposed.quantize_per_channel") == 3
    assert quantized.stages[0].details["activations"]["relu"]["readers"] == ["conv2d", "conv2d_1", "conv2d_4"]


@pytest.mark.skipif(bool(fxc.kernels.backends.missing()), reason="a backend is missing here")
def test_what_stands_behind_goes_into_the_call():
    torch.manual_seed(0)
    found = operations(fxc.compress(Branches().eval(), (torch.randn(2, 16, 8, 8),), LOWER).module)
    assert found.count("fxcompress.round_images") == 3
    assert found.count("fxcompress.conv_dynamic") == 5
    for word in ("add", "silu", "conv2d", "quantize"):
        assert not any(one.split(".")[-1].startswith(word) for one in found), word
    assert found.count("relu") == 1


@pytest.mark.parametrize("text", ["quantize{scheme=w8a8}", LOWER])
def test_a_result_does_not_depend_on_what_else_is_in_the_batch(text):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(16, 24, 3), nn.ReLU(), nn.Conv2d(24, 8, 3)).eval()
    images = torch.randn(4, 16, 9, 9) * torch.logspace(-3, 3, 4).view(-1, 1, 1, 1)
    module = fxc.compress(net, (images,), text).module
    with torch.no_grad():
        together = module(images)
        for index in range(4):
            alone = module(images[index : index + 1])[0]
            assert near(together[index], alone, 1e-6), index


def test_the_slower_one_is_not_taken_and_reads_its_image_as_it_is(monkeypatch):
    def took(calls):
        return {name: 1.0 if name == "floats" else 5.0 for name in calls}

    monkeypatch.setattr(choosing_images, "interleaved", took)
    choosing_images._measure.cache_clear()
    torch.manual_seed(0)
    layer, image = nn.Conv2d(16, 8, 3), torch.randn(2, 16, 9, 9)
    result = fxc.compress(layer, (image,), "quantize{scheme=w8a8},lower")
    choosing_images._measure.cache_clear()
    assert operations(result.module) == ["fxcompress.held_channels", "conv2d"]
    assert result.stages[1].details["unrounded"] == ["conv2d"]
    assert any("activations are not rounded" in note for note in result.stages[1].notes)
    exact = copy.deepcopy(layer).double()
    exact.weight.data = weights_by_hand(layer.weight.detach(), 0)
    assert near(result.module(image).double(), exact(image.double()), 1e-5)


def test_a_gpu_leaves_it_by_name():
    result = fxc.compress(
        nn.Conv2d(16, 8, 3), (torch.randn(2, 16, 9, 9),), "quantize{scheme=w8a8},lower{device=cuda arch=sm_80}"
    )
    assert list(result.stages[1].details["left"]) == ["conv2d"]


@pytest.mark.parametrize("name", ["conv1d", "conv2d", "transposed2d", "alone2d"])
def test_trained_so_it_is_as_quantized_and_gradients_pass(name):
    torch.manual_seed(0)
    image = torch.randn(LAYERS[name][1])
    pretended = compressed(name, "fake-quantize{scheme=w8a8}", image)
    converted = compressed(name, "fake-quantize{scheme=w8a8},convert", image).module
    quantized = compressed(name, "quantize{scheme=w8a8}", image).module
    with torch.no_grad():
        assert near(pretended.module(image), quantized(image), 1e-5)
        assert near(converted(image), quantized(image), 1e-5)
    x = image.clone().requires_grad_()
    pretended.module(x).square().sum().backward()
    assert float(x.grad.abs().sum()) > 0


def test_linears_right_behind_linears_are_lowered():
    torch.manual_seed(0)
    model, rows = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 8)).eval(), torch.randn(4, 64)
    for scheme, name in (("w8a8", "linear_tokens"), ("w8a16", "linear_weight_only"), ("w4a16", "linear_groups")):
        found = operations(fxc.compress(model, (rows,), f"quantize{{scheme={scheme}}},lower{{measure=false}}").module)
        lowered = [one for one in found if one.split(".")[-1].startswith("linear")]
        assert len(lowered) == 3, found
        assert "linear" not in found
        assert name == "linear_tokens" or set(lowered) == {f"fxcompress.{name}"}


@pytest.mark.usefixtures("_without")
def test_views_of_static_convolutions_bear_another_order_in_memory():
    class Viewed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(16, 16, 3, padding=1), nn.Linear(16 * 64, 4)

        def forward(self, x):
            y = self.conv(x)
            y = y * torch.sigmoid(y)
            return self.head(y.view(y.size(0), -1))

    torch.manual_seed(0)
    model, x = Viewed().eval(), torch.randn(2, 16, 8, 8)
    text = "quantize{scheme=w8a8-static observer=minmax}"
    plain, lowered = (
        fxc.compress(model, (x,), one, calibration=[x]) for one in (text, f"{text},lower{{measure=false}}")
    )
    assert near(lowered.module(x).detach(), plain.module(x).detach(), 2e-2)
