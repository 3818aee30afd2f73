"""Layers in bfloat16, against float64 of the operands as bfloat16 has them."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from fxcompress.kernels import narrow
from fxcompress.kernels.backends import VARIABLE, read_again

ops = torch.ops.fxcompress
POSTS = {
    "none": lambda values: values,
    "relu": functional.relu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda values: functional.gelu(values, approximate="tanh"),
    "silu": functional.silu,
}
CONVOLVE = {3: torch.conv1d, 4: torch.conv2d, 5: torch.conv3d}
STEP = 2.0**-8  # of a mantissa of 8 bits, rounded


@pytest.fixture(params=["", "onednn"])
def rounds_weights(request, monkeypatch):
    """Whether weights are bfloat16 too; with oneDNN switched off the layer is calculated in float32."""
    monkeypatch.setenv(VARIABLE, request.param)
    read_again()
    yield narrow.has_bf16()
    monkeypatch.undo()
    read_again()


def weights(shape, stored, rounds):
    """What an operator takes, and what it stands for in float64."""
    torch.manual_seed(1)
    if stored == "floats":
        values = torch.randn(shape)
        operands, wide = (values, None), values
    else:
        integers, scales = torch.randint(-127, 128, shape, dtype=torch.int8), torch.rand(shape[0]) / 100
        operands, wide = (integers, scales), integers.float() * scales.view(-1, *[1] * (len(shape) - 1))
    return operands, (wide.bfloat16() if rounds else wide).double()


def near(made, want, post):
    """The result is rounded once more by oneDNN, and its gelu is a polynomial."""
    assert made.shape == want.shape
    slack = STEP * want.abs() + (2e-3 if "gelu" in post else 1e-5) * want.abs().max()
    assert bool(((made.double() - want).abs() <= slack).all())


@pytest.mark.parametrize("stored", ["floats", "integers"])
@pytest.mark.parametrize("post", POSTS)
@pytest.mark.parametrize("shape", [(1, 64), (5, 33), (2, 3, 16), (7,)])
def test_linears(shape, post, stored, rounds_weights):
    operands, wide = weights((24, shape[-1]), stored, rounds_weights)
    values, bias = torch.randn(shape).bfloat16(), torch.randn(24).bfloat16().float()
    want = POSTS[post](functional.linear(values.double(), wide, bias.double()))
    for slim, dtype in ((False, torch.float32), (True, torch.bfloat16)):
        made = ops.linear_bf16(values, *operands, bias, post, slim)
        assert made.dtype == dtype
        near(made, want, post)
    without = ops.linear_bf16(values, *operands, None, "none", False)
    near(without, functional.linear(values.double(), wide), "none")


@pytest.mark.parametrize("stored", ["floats", "integers"])
@pytest.mark.parametrize("post", POSTS)
@pytest.mark.parametrize("size", [(20,), (9, 8), (5, 6, 7)])
def test_convolutions(size, post, stored, rounds_weights):
    operands, wide = weights((12, 4, *[3] * len(size)), stored, rounds_weights)
    image, bias = torch.randn(2, 8, *size).bfloat16(), torch.randn(12).bfloat16().float()
    moves = ([2], [1], [1], 2)
    want = POSTS[post](CONVOLVE[image.dim()](image.double(), wide, bias.double(), 2, 1, 1, 2))
    for slim in (False, True):
        near(ops.conv_bf16(image, *operands, bias, *moves, post, slim), want, post)
        last = image.movedim(1, -1).contiguous().movedim(-1, 1)
        near(ops.conv_bf16(last, *operands, bias, *moves, post, slim), want, post)


def test_new_weights_are_packed_anew(rounds_weights):
    weight, values = torch.randn(8, 16), torch.randn(3, 16).bfloat16()
    first = ops.linear_bf16(values, weight, None, None, "none", False)
    weight.mul_(2)
    assert torch.allclose(ops.linear_bf16(values, weight, None, None, "none", False), 2 * first, rtol=2 * STEP)


def test_the_operators_keep_the_rules_of_operators():
    tests = ("test_schema", "test_faketensor")
    values, weight = torch.randn(3, 16).bfloat16(), torch.randn(8, 16)
    torch.library.opcheck(ops.linear_bf16.default, (values, weight, None, None, "relu", True), test_utils=tests)
    for size in ((9,), (9, 8), (4, 5, 6)):
        kernel = torch.randn(8, 4, *[3] * len(size))
        arguments = (torch.randn(2, 4, *size).bfloat16(), kernel, None, None, [1], [0], [1], 1, "relu", False)
        torch.library.opcheck(ops.conv_bf16.default, arguments, test_utils=tests)
