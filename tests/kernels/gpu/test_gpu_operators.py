"""The operators for GPUs as the CPU runs them: results by hand in float64, and what torch does with operators."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from gpu_weights import ACTIVATIONS, stored_weight
from torch.nn import functional

from fxcompress.kernels.gpu.nibbles import pack_nibbles, unpack_nibbles
from fxcompress.kernels.products import POSTS

ops = torch.ops.fxcompress


@pytest.mark.parametrize("features", [1, 2, 7, 16])
def test_nibbles_come_back(features):
    values = torch.randint(-8, 8, (5, features), dtype=torch.int8)
    stored = pack_nibbles(values)
    assert stored.dtype == torch.uint8
    assert stored.shape == (5, (features + 1) // 2)
    assert int(stored[0, 0]) & 15 == int(values[0, 0]) + 8
    assert torch.equal(unpack_nibbles(stored, features), values)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group", [0, 32])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("activation", POSTS)
def test_weight_only(bits, group, affine, activation):
    weight, scales, zeros, wide = stored_weight(9, 45, bits, group, affine)
    x, bias, residual = torch.randn(2, 3, 45), torch.randn(9), torch.randn(2, 3, 9)
    got = ops.gpu_linear_weight_only(x, weight, scales, zeros, bias, residual, bits, group, activation)
    want = ACTIVATIONS[activation](x.double() @ wide.T + bias.double()) + residual.double()
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gated(dtype):
    gate, gate_scales, _, wide_gate = stored_weight(10, 64, 4, 32, False)
    up, up_scales, _, wide_up = stored_weight(10, 64, 4, 32, False)
    x = torch.randn(5, 64).to(dtype)
    got = ops.gpu_linear_gated(x, gate, gate_scales, None, up, up_scales, None, 4, 32, "silu")
    want = functional.silu(x.double() @ wide_gate.T) * (x.double() @ wide_up.T)
    assert got.dtype == dtype
    error = (got.double() - want).abs().max() / want.abs().max()
    assert error < torch.finfo(dtype).eps


@pytest.mark.parametrize("kind", ["layer", "rms", *POSTS])
@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_rows_behind_a_norm_or_an_activation(kind, dtype):
    x, other, weight, bias = torch.randn(2, 3, 40), torch.randn(2, 3, 40), torch.randn(40), torch.randn(40)
    values, scales = ops.gpu_norm_quantize_rows(x, other, weight, bias, kind, 1e-5, dtype=dtype)
    wide = x.double()
    if kind == "layer":
        want = functional.layer_norm(wide, (40,), weight.double(), bias.double(), 1e-5)
    elif kind == "rms":
        want = wide / (wide.square().mean(-1, True) + 1e-5).sqrt() * weight
    else:
        want = ACTIVATIONS[kind](wide)
    want = want * other.double()
    steps = scales.double().unsqueeze(-1)
    assert scales.shape == (2, 3)
    torch.testing.assert_close(
        steps[..., 0] * (127 if dtype == torch.int8 else 448), want.abs().amax(-1), rtol=1e-5, atol=0
    )
    allowed = 0.501 * steps if dtype == torch.int8 else want.abs() / 15.9 + steps * 2**-9
    assert ((values.double() * steps - want).abs() <= allowed).all()


def test_a_row_of_zeros_stays_zero():
    values, scales = ops.gpu_quantize_rows(torch.zeros(2, 5))
    assert not values.any()
    assert (scales > 0).all()


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("activation", POSTS)
def test_eight_bits_by_eight(static, activation):
    values = torch.randint(-128, 128, (2, 3, 50), dtype=torch.int8)
    weight = torch.randint(-128, 128, (7, 50), dtype=torch.int8)
    rows = torch.rand(1) * 0.01 if static else torch.rand(2, 3) * 0.01
    scales, bias, residual = torch.rand(7) * 0.01, torch.randn(7), torch.randn(2, 3, 7)
    steps = rows.double() if static else rows.double().unsqueeze(-1)
    for dtype, left, right, run in (
        (torch.int8, values, weight, ops.gpu_linear_int8),
        (torch.float8_e4m3fn, values.float() / 8, weight.float() / 8, ops.gpu_linear_fp8),
    ):
        left, right = left.to(dtype), right.to(dtype)
        got = run(left, rows, right, scales, bias, residual, activation, torch.float32)
        product = left.double() @ right.double().T
        want = ACTIVATIONS[activation](product * steps * scales.double() + bias.double()) + residual.double()
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)


def calls():
    """One call of each operator."""
    weight, scales, zeros, _ = stored_weight(8, 64, 4, 32, True)
    x = torch.randn(3, 64)
    values, rows = ops.gpu_quantize_rows(x)
    small, small_rows = ops.gpu_quantize_rows(x, dtype=torch.float8_e4m3fn)
    integers, channel = torch.randint(-128, 128, (8, 64), dtype=torch.int8), torch.rand(8)
    bias, residual = torch.randn(8), torch.randn(3, 8)
    return [
        (ops.gpu_linear_weight_only, (x, weight, scales, zeros, bias, residual, 4, 32, "gelu"), {}),
        (ops.gpu_linear_weight_only, (x.half(), integers, channel, None, None, None, 8, 0, "none"), {}),
        (ops.gpu_linear_gated, (x, weight, scales, zeros, weight, scales, None, 4, 32, "silu"), {}),
        (ops.gpu_quantize_rows, (x,), {}),
        (ops.gpu_norm_quantize_rows, (x, None, torch.randn(64), None, "rms", 1e-6), {"dtype": torch.float8_e4m3fn}),
        (ops.gpu_linear_int8, (values, rows, integers, channel, bias, residual, "relu", torch.float16), {}),
        (ops.gpu_linear_fp8, (small, small_rows, small[:2], rows[:2], None, None, "none", torch.bfloat16), {}),
    ]


@pytest.mark.parametrize("place", range(7))
def test_opcheck(place):
    run, arguments, keywords = calls()[place]
    checks = ["test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"]
    # That of the schema multiplies what it is given, which torch does not do with these floats.
    small = any(isinstance(value, torch.Tensor) and value.dtype == torch.float8_e4m3fn for value in arguments)
    torch.library.opcheck(run.default, arguments, keywords, test_utils=checks[small:])


@pytest.mark.parametrize("place", range(7))
def test_types_of_tensors_on_a_gpu_that_is_not_there(place):
    run, arguments, keywords = calls()[place]
    with torch._subclasses.FakeTensorMode():
        moved = [
            torch.empty(value.shape, dtype=value.dtype, device="cuda") if isinstance(value, torch.Tensor) else value
            for value in arguments
        ]
        made = run(*moved, **keywords)
    for got, want in zip(
        *[x if isinstance(x, tuple) else (x,) for x in (made, run(*arguments, **keywords))], strict=True
    ):
        assert got.device.type == "cuda"
        assert (got.shape, got.dtype) == (want.shape, want.dtype)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({6: 5}, "4 or 8 bits"),
        ({8: "tanh"}, "none of none, relu"),
        ({1: torch.zeros(8, 64, dtype=torch.uint8)}, r"torch.uint8 \[N, 32\]"),
        ({7: 0}, "other scales"),
    ],
)
def test_what_does_not_fit_is_refused(change, words):
    _, arguments, _ = calls()[0]
    wrong = [change.get(place, value) for place, value in enumerate(arguments)]
    with pytest.raises(ValueError, match=words):
        ops.gpu_linear_weight_only(*wrong)


PROGRAM = """
import sys, warnings
sys.modules["triton"] = None
import torch, fxcompress
from fxcompress.kernels.gpu import weight_only
assert not torch.cuda.is_initialized()
x = torch.randn(2, 32)
w = torch.randint(-128, 128, (4, 32), dtype=torch.int8)
print(torch.ops.fxcompress.gpu_linear_weight_only(x, w, torch.ones(4), None, None, None, 8, 0, "none").shape)
"""


def test_without_triton():
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "torch.Size([2, 4])"


def test_importing_leaves_triton_and_the_gpu_alone():
    program = "import sys, torch, fxcompress.kernels; print('triton' in sys.modules, torch.cuda.is_initialized())"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "False"]
