"""The operators on a GPU against float64 of the same integers; without one they are skipped."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from fxcompress.kernels.gpu.nibbles import pack_nibbles
from fxcompress.kernels.gpu.rows import norm_quantize_rows

pytestmark = pytest.mark.gpu
ops = torch.ops.fxcompress
# Of the largest magnitude of the result.
ALLOWED = {torch.float16: 1e-3, torch.bfloat16: 8e-3, torch.float32: 1e-5}
# Rows of the input, outputs and features: edges of every tile, and a large one.
SIZES = [(1, 1, 1), (1, 64, 64), (3, 70, 130), (16, 4096, 4096), (17, 129, 4097), (65, 512, 1000), (300, 1024, 512)]


def near(got, want):
    assert got.isfinite().all()
    error = (got.double() - want).abs().max()
    assert error <= ALLOWED[got.dtype] * want.abs().max().clamp_min(1e-3), (float(error), float(want.abs().max()))


def on_gpu(*shape, dtype):
    return torch.randn(shape, device="cuda").to(dtype)


def poison():
    """Leave NaN in the memory that the next results are put into."""
    blocks = [torch.full((1 << power,), float("nan"), device="cuda") for power in (10, 16, 20, 24)]
    del blocks


def weight(n, k, bits, group, affine):
    most, groups = 2 ** (bits - 1), -(-k // group) if group else 1
    integers = torch.randint(-most, most, (n, k), device="cuda", dtype=torch.int8)
    scales = torch.rand(n, groups, device="cuda") / most + 1e-3
    zeros = torch.randint(-most, most, (n, groups), device="cuda", dtype=torch.int8) if affine else None
    width = group or k

    def wide_of(values):
        return values.double().repeat_interleave(width, 1)[:, :k]

    wide = (integers.double() - (0 if zeros is None else wide_of(zeros))) * wide_of(scales)
    stored = pack_nibbles(integers) if bits == 4 else integers
    if group:
        return stored, scales, zeros, wide
    return stored, scales.view(-1), None if zeros is None else zeros.view(-1), wide


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group", [0, 32, 64, 128, 48])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("dtype", ALLOWED)
def test_weight_only(size, bits, group, affine, dtype, monkeypatch):
    m, n, k = size
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    stored, scales, zeros, wide = weight(n, k, bits, group, affine)
    x, bias, residual = on_gpu(m, k, dtype=dtype), on_gpu(n, dtype=dtype), on_gpu(m, n, dtype=dtype)
    poison()
    got = ops.gpu_linear_weight_only(x, stored, scales, zeros, bias, residual, bits, group, "silu")
    near(got, functional.silu(x.double() @ wide.T + bias.double()) + residual.double())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gated(size, bits, dtype):
    m, n, k = size
    (gate, gate_scales, gate_zeros, wide_gate), (up, up_scales, _, wide_up) = (
        weight(n, k, bits, 64, affine) for affine in (True, False)
    )
    x = on_gpu(m, k, dtype=dtype) / k**0.5
    poison()
    got = ops.gpu_linear_gated(x, gate, gate_scales, gate_zeros, up, up_scales, None, bits, 64, "silu")
    near(got, functional.silu(x.double() @ wide_gate.T) * (x.double() @ wide_up.T))


@pytest.mark.parametrize("size", [*SIZES, (4096, 1024, 1024)])
@pytest.mark.parametrize("kind", [torch.int8, torch.float8_e4m3fn])
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_eight_bits(size, kind, static, dtype):
    m, n, k = size
    values, stored = (torch.randint(-127, 128, shape, device="cuda").to(torch.int8) for shape in ((m, k), (n, k)))
    values, stored = (each.to(kind) if kind == torch.int8 else (each / 8).to(kind) for each in (values, stored))
    rows, scales = torch.rand(1 if static else m, device="cuda") * 0.01, torch.rand(n, device="cuda") * 0.01
    residual = on_gpu(m, n, dtype=dtype)
    run = ops.gpu_linear_int8 if kind == torch.int8 else ops.gpu_linear_fp8
    poison()
    got = run(values, rows, stored, scales, None, residual, "gelu", dtype)
    product = values.double() @ stored.double().T * rows.double().unsqueeze(-1) * scales.double()
    near(got, functional.gelu(product) + residual.double())


@pytest.mark.parametrize("kind", ["none", "silu", "gelu", "rms", "layer"])
@pytest.mark.parametrize("columns", [1, 100, 4096, 11008])
@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_rows(kind, columns, dtype):
    x, other = on_gpu(5, columns, dtype=torch.bfloat16), on_gpu(5, columns, dtype=torch.bfloat16)
    of_norm = on_gpu(columns, dtype=torch.bfloat16)
    values, scales = ops.gpu_norm_quantize_rows(x, other, of_norm, of_norm, kind, 1e-5, dtype=dtype)
    plain, plain_scales = norm_quantize_rows(
        x.cpu(), other.cpu(), of_norm.cpu(), of_norm.cpu(), kind, 1e-5, dtype=dtype
    )
    torch.testing.assert_close(scales.cpu(), plain_scales, rtol=1e-4, atol=0)
    # A value in the middle between two may go either way.
    step = 1 if dtype == torch.int8 else 32
    assert ((values.cpu().float() - plain.float()).abs() <= step).all()
    assert (values.cpu().float() != plain.float()).float().mean() < 0.01


def test_a_graph_replays_with_new_inputs():
    stored, scales, _, wide = weight(512, 1024, 4, 128, False)
    x = on_gpu(4, 1024, dtype=torch.bfloat16)
    arguments = (stored, scales, None, None, None, 4, 128, "none")
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        ops.gpu_linear_weight_only(x, *arguments)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = ops.gpu_linear_weight_only(x, *arguments)
    x.copy_(on_gpu(4, 1024, dtype=torch.bfloat16))
    graph.replay()
    torch.cuda.synchronize()
    near(got, x.double() @ wide.T)


def test_the_same_call_gives_the_same_bits():
    stored, scales, zeros, _ = weight(4096, 4096, 4, 128, True)
    x = on_gpu(7, 4096, dtype=torch.float16)
    first, *others = (
        ops.gpu_linear_weight_only(x, stored, scales, zeros, None, None, 4, 128, "none") for _ in range(5)
    )
    assert all(torch.equal(first, other) for other in others)
