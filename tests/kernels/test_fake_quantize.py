"""Rounding that is trained through: values against numpy, gradients against LSQ written out with detached tensors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import fxcompress.kernels  # noqa: F401  (registers the operators)
from fxcompress.graph.quantized import quantized_decomposed

ops = torch.ops.fxcompress

# Shape, axis, group, the shape of the scales.
FORMS = [
    ((6, 8), 0, 0, ()),
    ((6, 8), 0, 0, (6,)),
    ((6, 8), 1, 0, (8,)),
    ((6, 8), 0, 4, (6, 2)),
    ((4, 3, 2, 2), 0, 6, (4, 2)),
    ((4, 3, 2, 2), 1, 4, (3, 4)),
]


def spread(scale, shape, axis, group):
    """The scale of every weight, in the shape of the weight, by going through the weights one by one."""
    found = np.empty(shape)
    for place in np.ndindex(*shape):
        channel = place[axis]
        rest = np.ravel_multi_index(
            [index for dim, index in enumerate(place) if dim != axis],
            [size for dim, size in enumerate(shape) if dim != axis],
        )
        row = scale if scale.dim() == 0 else scale[channel] if scale.dim() == 1 else scale[channel, rest // group]
        found[place] = float(row)
    return found


def case(shape, scales, dtype, affine):
    torch.manual_seed(0)
    weight = torch.randn(shape, dtype=dtype)
    scale, stretch = torch.rand(scales) / 3 + 0.1, torch.randn(scales) / 3
    zero = torch.randint(-3, 4, scales, dtype=torch.int8) if affine else None
    return weight, scale, stretch, zero


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize(("shape", "axis", "group", "scales"), FORMS)
def test_weights_are_rounded_as_numpy_does(shape, axis, group, scales, affine, dtype):
    weight, scale, stretch, zero = case(shape, scales, dtype, affine)
    low, high = (-8, 7) if affine else (-7, 7)
    got = ops.fake_quantize_weight(weight, scale, stretch, zero, axis, group, low, high)
    steps = spread(scale.double() * 2 ** stretch.double(), shape, axis, group)
    zeros = 0 if zero is None else spread(zero, shape, axis, group)
    want = (np.clip(np.round(weight.double().numpy() / steps) + zeros, low, high) - zeros) * steps
    assert got.dtype == dtype
    assert np.allclose(got.double().numpy(), want, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5)
    assert not ops.fake_quantize_weight(torch.zeros_like(weight), scale, stretch, zero, axis, group, low, high).any()


def rounded_through(values, step, zero, low, high):
    """LSQ as its paper has it: autograd sees the clipping and the step, not the rounding."""
    steps = values / step
    clipped = torch.minimum(torch.maximum(steps, low - zero), high - zero)
    return (clipped + (clipped.round() - clipped).detach()) * step


def clear_of_edges(values, step, zero, low, high):
    """Whether rounding and clipping fall the same way on both sides of an edge."""
    places = values / step + zero
    return (((places - low).abs() > 0.51) & ((places - high).abs() > 0.51)).all()


@pytest.mark.parametrize(("shape", "axis", "group", "scales"), FORMS)
def test_gradients_are_those_of_lsq(shape, axis, group, scales):
    low, high = -8, 7
    weight, scale, stretch, zero = case(shape, scales, torch.float64, True)
    steps = torch.tensor(spread(scale.double() * 2 ** stretch.double(), shape, axis, group))
    zeros = torch.tensor(spread(zero, shape, axis, group))
    # Some are clipped on either side, none is at an edge, where one may argue which side it is on.
    places = (torch.randint(-14, 14, shape) + 0.6 * torch.rand(shape) - 0.3).double() - zeros
    places = torch.where(((places + zeros - low).abs() < 1) | ((places + zeros - high).abs() < 1), 0.3, places)
    weight = (places * steps).requires_grad_()
    stretch.requires_grad_()
    slope = torch.randn(shape, dtype=torch.float64)
    found = ops.fake_quantize_weight(weight, scale, stretch, zero, axis, group, low, high)
    got = torch.autograd.grad((found * slope).sum(), [weight, stretch])

    step = steps.clone().requires_grad_()
    want = torch.autograd.grad((rounded_through(weight, step, zeros, low, high) * slope).sum(), [weight, step])
    assert torch.allclose(got[0], want[0])
    total = np.zeros(scales)
    for place in np.ndindex(*shape):
        rest = np.ravel_multi_index(
            [index for dim, index in enumerate(place) if dim != axis],
            [size for dim, size in enumerate(shape) if dim != axis],
        )
        key = {0: (), 1: (place[axis],), 2: (place[axis], rest // max(group, 1))}[len(scales)]
        total[key] += float(want[1][place])
    share = np.prod(shape) / max(1, np.prod(scales))
    length = (scale.double() * 2 ** stretch.detach().double()).numpy()
    # A step of plain gradient descent changes the length by the share that LSQ's does.
    assert np.allclose(got[1].numpy() * math.log(2) * length, total / math.sqrt(share * high), rtol=1e-4)


def test_tensors_are_rounded_and_learned_as_weights_are():
    torch.manual_seed(0)
    scale, stretch = torch.tensor(0.05), torch.tensor(0.3, requires_grad=True)
    step, zero = float(scale.double() * 2**0.3), 100
    places = (torch.randint(-120, 300, (4, 3, 5)) + 0.6 * torch.rand(4, 3, 5) - 0.3).double()
    places = torch.where(((places + zero).abs() < 1) | ((places + zero - 255).abs() < 1), 0.3, places)
    values = (places * step).requires_grad_()
    got = ops.fake_quantize_tensor(values, scale, stretch, zero, 0, 255)
    want = (np.clip(np.round(places.numpy()) + zero, 0, 255) - zero) * step
    assert np.allclose(got.detach().numpy(), want, rtol=1e-6)
    slope = torch.randn(4, 3, 5, dtype=torch.float64)
    gradients = torch.autograd.grad((got * slope).sum(), [values, stretch])
    length = torch.tensor(step, dtype=torch.float64, requires_grad=True)
    written = rounded_through(values, length, torch.tensor(float(zero)), 0, 255)
    wanted = torch.autograd.grad((written * slope).sum(), [values, length])
    assert torch.allclose(gradients[0], wanted[0])
    # Features are those of one sample.
    assert float(gradients[1]) * math.log(2) * step == pytest.approx(float(wanted[1]) / math.sqrt(15 * 255), rel=1e-4)


def test_tensors_are_rounded_to_the_bit_as_when_they_are_quantized():
    torch.manual_seed(0)
    values, decomposed = torch.randn(1000) * 4, quantized_decomposed()
    for _ in range(20):
        scale = torch.rand(()) / 10 + 1e-3
        got = ops.fake_quantize_tensor(values, scale, torch.zeros(()), 77, 0, 255)
        codes = decomposed.quantize_per_tensor(values, float(scale), 77, 0, 255, torch.uint8)
        assert torch.equal(got, decomposed.dequantize_per_tensor(codes, float(scale), 77, 0, 255, torch.uint8))


def test_tokens_pass_gradients():
    torch.manual_seed(0)
    values = torch.randn(3, 7, 16, requires_grad=True)
    found = ops.fake_quantize_tokens(values)
    wide = values.detach().double()
    steps = (wide.amax(-1).clamp(min=0) - wide.amin(-1).clamp(max=0)) / 255
    assert ((found.detach().double() - wide).abs() <= steps[..., None] * 0.5 * (1 + 1e-3)).all()
    slope = torch.randn_like(values)
    assert torch.equal(torch.autograd.grad((found * slope).sum(), values)[0], slope)


def test_types_are_known_without_running():
    weight, scale, stretch, zero = case((4, 3, 2, 2), (3, 4), torch.float32, True)
    arguments = (weight, scale, stretch.requires_grad_(), zero, 1, 4, -8, 7)
    torch.library.opcheck(ops.fake_quantize_weight.default, arguments)
    torch.library.opcheck(ops.fake_quantize_tensor.default, (weight, scale[0, 0], stretch[0, 0].detach(), 3, 0, 255))
    torch.library.opcheck(ops.fake_quantize_tokens.default, (weight,))
