"""The Triton kernels of linears in Triton's interpreter, against float64 of the same integers.

`test_interpreted` runs this file in a process of its own. The interpreter knows neither bfloat16 nor assembly.
"""

from __future__ import annotations

import pytest
import torch
from gpu_weights import ACTIVATIONS, stored_weight
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from fxcompress.kernels.gpu import running_dense, running_quantized, running_rows, running_weight_only
from fxcompress.kernels.gpu.configurations import Config
from fxcompress.kernels.gpu.launching import run_all
from fxcompress.kernels.gpu.running_weight_only import pack_gated, tile_launches
from fxcompress.kernels.gpu.tiles import pack_tiles
from fxcompress.kernels.products import POSTS

# NumPy warns of the infinity in 1 / (1 + exp(1000)), which is right.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp")
ALLOWED = {torch.float16: 1e-3, torch.float32: 1e-5}
DTYPES = tuple(ALLOWED)
FEW = settings(deadline=None, max_examples=8, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
ROWS, SIDES = st.integers(1, 40), st.integers(1, 300)
CONFIGS = st.builds(
    Config,
    block_m=st.sampled_from([16, 32]),
    block_n=st.sampled_from([64, 128]),
    block_k=st.sampled_from([64, 128]),
    split_k=st.sampled_from([1, 3]),
)


def poisoned(*shape, dtype):
    return torch.full(shape, float("nan"), dtype=dtype)


def assert_near(got, want, dtype):
    assert got.dtype == dtype
    assert got.isfinite().all()
    assert (got.double() - want).abs().max() <= ALLOWED[dtype] * max(float(want.abs().max()), 1e-3)


def behind(rows, outputs, dtype, with_bias, with_residual):
    bias = torch.randn(outputs).to(dtype) if with_bias else None
    residual = torch.randn(rows, outputs).to(dtype) if with_residual else None
    return bias, residual


def finished(product, bias, residual, activation):
    wide = ACTIVATIONS[activation](product + (0 if bias is None else bias.double()))
    return wide + (0 if residual is None else residual.double())


def check_weight_only(m, n, k, bits, group, affine, dtype, activation, config, extras=(True, True)):
    weight, scales, zeros, wide = stored_weight(n, k, bits, group, affine)
    x = torch.randn(m, k).to(dtype)
    bias, residual = behind(m, n, dtype, *extras)
    output = poisoned(m, n, dtype=dtype)
    tiles = pack_tiles(weight, scales, zeros, bits, group, k, None)
    run_all(tile_launches(x, tiles, bias, residual, output, activation, False, config))
    assert_near(output, finished(x.double() @ wide.T, bias, residual, activation), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group", [0, 32, 64, 128, 256])
@pytest.mark.parametrize("affine", [False, True])
def test_weight_only(dtype, bits, group, affine):
    check_weight_only(5, 70, 300, bits, group, affine, dtype, "none", Config(16, 64, 128, 2))


@pytest.mark.parametrize("activation", POSTS)
@pytest.mark.parametrize("split", [1, 2])
def test_what_stands_behind(activation, split):
    check_weight_only(3, 65, 130, 4, 64, False, torch.float32, activation, Config(16, 64, 64, split))


@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 1), (1, 64, 64), (16, 128, 128), (17, 129, 127), (33, 63, 257)])
def test_edges(m, n, k):
    check_weight_only(m, n, k, 4, 0, True, torch.float16, "silu", Config(16, 128, 64, 2), (True, False))
    check_weight_only(m, n, k, 8, 64, False, torch.float16, "none", Config(32, 64, 64, 1), (False, True))


@FEW
@given(ROWS, SIDES, SIDES, st.sampled_from([4, 8]), st.sampled_from([0, 32, 64, 128]), st.booleans(), CONFIGS)
def test_any_size(m, n, k, bits, group, affine, config):
    check_weight_only(m, n, k, bits, group, affine, torch.float16, "relu", config)


@FEW
@given(
    ROWS,
    SIDES,
    SIDES,
    st.sampled_from([4, 8]),
    st.sampled_from([0, 32, 128]),
    st.sampled_from([(False, False), (True, True), (True, False)]),
    st.sampled_from([1, 3]),
    st.sampled_from(DTYPES),
)
def test_gated(m, n, k, bits, group, affine, split, dtype):
    made = [stored_weight(n, k, bits, group, each) for each in affine]
    weights, scales, zeros, wide = zip(*made, strict=True)
    x = torch.randn(m, k).to(dtype) / k**0.5
    output = poisoned(m, n, dtype=dtype)
    tiles = pack_gated(weights, scales, zeros, bits, group, k, None)
    run_all(tile_launches(x, tiles, None, None, output, "silu", True, Config(16, 128, 64, split)))
    want = functional.silu(x.double() @ wide[0].T) * (x.double() @ wide[1].T)
    assert_near(output, want, dtype)


@FEW
@given(SIDES, SIDES, st.sampled_from([4, 8]), st.sampled_from([0, 32, 48, 128]), st.booleans(), st.sampled_from(DTYPES))
def test_dequantized(n, k, bits, group, affine, dtype):
    weight, scales, zeros, wide = stored_weight(n, k, bits, group, affine)
    output = poisoned(n, k, dtype=dtype)
    running_dense.dequantizing(weight, scales, zeros, bits, group, output).run()
    torch.testing.assert_close(output.double(), wide, rtol=torch.finfo(dtype).eps, atol=0)


def check_eight_bits(m, n, k, kind, static, dtype, activation, config, extras=(True, True)):
    rows = torch.rand(1 if static else m) * 0.01 + 0.001
    scales = torch.rand(n) * 0.01 + 0.001
    values, weight = torch.randint(-128, 128, (m, k)), torch.randint(-128, 128, (n, k))
    values, weight = values.to(torch.int8).to(kind), weight.to(torch.int8).to(kind)
    bias, residual = behind(m, n, dtype, *extras)
    output = poisoned(m, n, dtype=dtype)
    run_all(running_quantized.launches(values, rows, weight, scales, bias, residual, output, activation, config))
    product = values.double() @ weight.double().T * rows.double()[:, None] * scales.double()
    assert_near(output, finished(product, bias, residual, activation), dtype)


@pytest.mark.parametrize("kind", [torch.int8, torch.float8_e4m3fn])
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("activation", POSTS)
@pytest.mark.parametrize("split", [1, 2])
def test_eight_bits(kind, static, activation, split):
    check_eight_bits(5, 70, 130, kind, static, torch.float32, activation, Config(16, 64, 64, split))


@FEW
@given(
    st.integers(1, 150),
    SIDES,
    SIDES,
    st.sampled_from([torch.int8, torch.float8_e4m3fn]),
    st.booleans(),
    st.sampled_from(DTYPES),
    st.sampled_from([16, 64, 128]),
    st.sampled_from([1, 3]),
)
def test_eight_bits_of_any_size(m, n, k, kind, static, dtype, block_m, split):
    check_eight_bits(m, n, k, kind, static, dtype, "none", Config(block_m, 64, 64, split))


def test_many_rows_are_done_in_stripes():
    check_eight_bits(16 * 11, 200, 32, torch.int8, False, torch.float32, "none", Config(16, 64, 32))


@pytest.mark.parametrize("kind", ["layer", "rms", *POSTS])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [1, 100, 128])
@pytest.mark.parametrize("multiplied", [False, True])
def test_rows(kind, dtype, columns, multiplied):
    x, other = torch.randn(3, columns).to(dtype), torch.randn(3, columns).to(dtype)
    weight, bias = torch.randn(columns).to(dtype), torch.randn(columns).to(dtype)
    wide = x.double()
    if kind == "layer":
        want = functional.layer_norm(wide, (columns,), weight.double(), bias.double(), 1e-5)
    elif kind == "rms":
        want = wide / (wide.square().mean(-1, True) + 1e-5).sqrt() * weight.double()
    else:
        want = ACTIVATIONS[kind](wide)
    want = want * other.double() if multiplied else want
    values, scales = torch.empty(3, columns, dtype=torch.int8), poisoned(3, dtype=torch.float32)
    running_rows.launch(x, other if multiplied else None, weight, bias, kind, 1e-5, values, scales).run()
    torch.testing.assert_close(scales.double() * 127, want.abs().amax(-1), rtol=1e-5, atol=1e-30)
    assert ((values.double() * scales.double()[:, None] - want).abs() <= 0.501 * scales.double()[:, None]).all()


def test_halves_are_rounded_to_even():
    x = torch.tensor([[127.0, 0.5, 1.5, -0.5, -2.5, 126.5]])
    values, scales = torch.empty(1, 6, dtype=torch.int8), torch.empty(1)
    running_rows.launch(x, None, None, None, "none", 0.0, values, scales).run()
    assert values.tolist() == [[127, 0, 2, 0, -2, 126]]


def test_rows_of_floats_of_8_bits():
    # Of all numbers of the format but NaN; the interpreter has those wrong that need rounding.
    x = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    x = x[x.isfinite() & ((x.abs() >= 2**-6) | (x == 0))].view(1, -1)
    values, scales = torch.empty(x.shape, dtype=torch.float8_e4m3fn), torch.empty(1)
    running_rows.launch(x, None, None, None, "none", 0.0, values, scales).run()
    assert scales.item() == 1
    assert torch.equal(values.float(), x)


# As a GPU runs them, with all that is chosen there: rows, bits, group, zero points, floats.
WHOLE = [
    (3, 4, 64, "integers", torch.float16),
    (3, 8, 0, None, torch.float16),
    (3, 4, 48, None, torch.float16),
    (3, 4, 32, "floats", torch.float16),
    (3, 8, 128, "integers", torch.float32),
    (140, 4, 32, "integers", torch.float16),
]


@pytest.mark.parametrize(("m", "bits", "group", "affine", "dtype"), WHOLE)
@pytest.mark.parametrize("extras", [(True, True), (False, False)])
def test_whole_weight_only(m, bits, group, affine, dtype, extras):
    n, k = 70, 130
    weight, scales, zeros, wide = stored_weight(n, k, bits, group, affine is not None)
    zeros = zeros.float() if affine == "floats" else zeros
    x = torch.randn(m // 3 if m % 3 == 0 else m, 3 if m % 3 == 0 else 1, k).to(dtype)
    bias, residual = behind(len(x.flatten(0, 1)), n, dtype, *extras)
    residual = None if residual is None else residual.view(*x.shape[:-1], n)
    activation = "relu" if extras[0] else "none"
    got = running_weight_only.linear_weight_only(x, weight, scales, zeros, bias, residual, bits, group, activation)
    assert got.shape == (*x.shape[:-1], n)
    assert_near(got, finished(x.double() @ wide.T, bias, residual, activation), dtype)


@pytest.mark.parametrize("m", [2, 140])
@pytest.mark.parametrize("affine", [(False, True), (False, False)])
def test_whole_gated(m, affine):
    made = [stored_weight(70, 96, 4, 32, each) for each in affine]
    (gate, gate_scales, gate_zeros, wide_gate), (up, up_scales, up_zeros, wide_up) = made
    x = torch.randn(m, 96).half() / 10
    got = running_weight_only.linear_gated(x, gate, gate_scales, gate_zeros, up, up_scales, up_zeros, 4, 32, "silu")
    assert_near(got, functional.silu(x.double() @ wide_gate.T) * (x.double() @ wide_up.T), torch.float16)


@pytest.mark.parametrize("kind", [torch.int8, torch.float8_e4m3fn])
def test_whole_eight_bits(kind):
    values, weight = torch.randint(-128, 128, (2, 3, 90)), torch.randint(-128, 128, (70, 90))
    values, weight = values.to(torch.int8).to(kind), weight.to(torch.int8).to(kind)
    rows, scales, residual = torch.rand(2, 3) * 0.01, torch.rand(70) * 0.01, torch.randn(2, 3, 70)
    run = running_quantized.linear_int8 if kind == torch.int8 else running_quantized.linear_fp8
    got = run(values, rows, weight, scales, None, residual, "silu", torch.float32)
    product = values.double() @ weight.double().T * rows.double().unsqueeze(-1) * scales.double()
    assert_near(got, functional.silu(product) + residual.double(), torch.float32)


def test_whole_rows():
    x, weight = torch.randn(2, 3, 90).half(), torch.rand(90)
    values, scales = running_rows.norm_quantize_rows(x, None, weight, None, "rms", 1e-5)
    want = functional.rms_norm(x.double(), (90,), weight.double(), 1e-5)
    assert ((values.double() * scales.double().unsqueeze(-1) - want).abs() <= 0.501 * scales.unsqueeze(-1)).all()


@pytest.mark.parametrize(("m", "n", "k"), [(0, 4, 8), (3, 0, 8), (3, 4, 0)])
def test_nothing_to_do(m, n, k):
    weight, scales, _, _ = stored_weight(n, k, 8, 0, False)
    bias = torch.randn(n)
    got = running_weight_only.linear_weight_only(torch.randn(m, k), weight, scales, None, bias, None, 8, 0, "none")
    assert torch.equal(got, bias.expand(m, n))
    values, rows = (
        running_rows.quantize_rows(torch.randn(m, k)) if k else (torch.zeros(m, 0, dtype=torch.int8), torch.ones(m))
    )
    got = running_quantized.linear_int8(values, rows, weight, scales, bias, None, "none", torch.float32)
    assert torch.equal(got, bias.expand(m, n))
