"""`quantize{sums=true}`: residual sums of convolutions are rounded; witnesses are the original and plain arithmetic."""

from __future__ import annotations

import torch
from torch import nn

import fxcompress as fxc
from fxcompress.graph.nodes import calls, is_call
from fxcompress.graph.quantized import quantized_decomposed

aten = torch.ops.aten


class Residual(nn.Module):
    """A sum with a convolution in it, one without, and one of other shapes."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Conv2d(8, 8, 3, padding=1)
        self.shift = nn.Parameter(torch.randn(8, 1, 1))

    def forward(self, image):
        x = torch.relu(self.stem(image))
        x = torch.relu(self.body(x) + x)
        x = x + x.mean((2, 3), keepdim=True).expand_as(x)
        return self.body(x) + self.shift


def compressed(pipeline):
    calibration = [(torch.randn(4, 3, 8, 8),) for _ in range(4)]
    return fxc.compress(Residual().eval(), (calibration[0][0],), pipeline, calibration=calibration), calibration[0][0]


def rounded(node):
    return is_call(node, quantized_decomposed().dequantize_per_tensor.default)


def test_both_operands_are_rounded_where_a_convolution_goes_into_a_sum():
    result, image = compressed("quantize{scheme=w8a8-static sums=true}")
    sums = [[rounded(one) for one in node.args[:2]] for node in calls(result.module.graph, aten.add.Tensor)]
    assert sums == [[True, True], [False, False], [False, False]]
    assert any("both operands of 1 sum are rounded" in note for note in result.stages[0].notes)
    want, got = result.captured.module(image), result.module(image)
    assert 20 * torch.log10(want.norm() / (want - got).norm()) > 25


def test_the_ranges_are_those_of_the_values():
    """By hand: the range of the convolution's results on the calibration data, with zero in it, in 255 steps."""
    result, _ = compressed("quantize{scheme=w8a8-static sums=true observer=minmax}")
    node = calls(result.module.graph, aten.add.Tensor)[0].args[0]
    torch.manual_seed(0)
    calibration = [torch.randn(4, 3, 8, 8) for _ in range(4)]
    model = Residual().eval()
    model.load_state_dict(result.captured.module.state_dict())
    with torch.no_grad():
        values = torch.stack([model.body(torch.relu(model.stem(image))) for image in calibration])
    assert abs(node.args[1] * 255 - float(values.max() - values.min())) < 1e-4


def test_without_it_a_sum_reads_rounded_what_a_convolution_does():
    result, image = compressed("quantize{scheme=w8a8-static}")
    sums = [[rounded(one) for one in node.args[:2]] for node in calls(result.module.graph, aten.add.Tensor)]
    assert sums == [[False, True], [False, False], [False, False]]
    want, got = result.captured.module(image), result.module(image)
    assert 20 * torch.log10(want.norm() / (want - got).norm()) > 25


class Around(nn.Module):
    """A residual around linears."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.second(x) + x


def test_what_runs_around_linears_stays_in_floats():
    x = torch.randn(5, 8)
    result = fxc.compress(Around().eval(), (x,), "quantize{scheme=w8a8-static}", calibration=[(x,)])
    assert not any(rounded(one) for node in calls(result.module.graph, aten.add.Tensor) for one in node.all_input_nodes)
