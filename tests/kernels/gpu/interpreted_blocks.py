"""The Triton kernels of stored blocks, and of one scale for all, in the interpreter, against float64.

`test_interpreted` runs this file in a process of its own. The interpreter knows no bfloat16.
"""

from __future__ import annotations

import pytest
import torch
from blocked_weights import blocked
from gpu_weights import ACTIVATIONS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fxcompress.kernels.gpu import running_static
from fxcompress.kernels.gpu.launching import run_all
from fxcompress.kernels.gpu.running_block_sparse import estimated, features_of, launches
from fxcompress.kernels.gpu.table_files import Config
from fxcompress.kernels.products import POSTS

# NumPy warns of the infinity in 1 / (1 + exp(1000)), which is right.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp")
ALLOWED = {torch.float16: 1e-3, torch.float32: 1e-5}
FEW = settings(deadline=None, max_examples=15, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
MANY = settings(FEW, max_examples=250)
# Height, width, and a configuration that goes with them.
BLOCKS = st.sampled_from([(16, 16), (32, 16), (64, 32), (128, 16), (128, 32), (24, 12), (8, 8), (256, 8)])


def check(m, n, k, block, free, narrow, dtype, activation="none", config=None, extras=(True, True)):
    operands, weight = blocked(n, k, block, free, narrow, dtype)
    x = torch.randn(m, k).to(dtype)
    bias = torch.randn(n).to(dtype) if extras[0] else None
    residual = torch.randn(m, n).to(dtype) if extras[1] else None
    output = torch.full((m, n), float("nan"), dtype=dtype)
    columns = features_of(n, len(operands[0]), *block)
    config = config or estimated((9, 0), m, n, columns, *block, dtype.itemsize)
    started = launches(x, *operands, bias, residual, output, activation, config)
    if config.split_k > 1:
        # Sums of parts that nobody writes would be read as they were.
        started[1].arguments[0].fill_(float("nan"))
    run_all(started)
    want = ACTIVATIONS[activation](x.double() @ weight.T + (0 if bias is None else bias.double()))
    want = want + (0 if residual is None else residual.double())
    assert output.isfinite().all()
    assert (output.double() - want).abs().max() <= ALLOWED[dtype] * max(float(want.abs().max()), 1e-3)


@pytest.mark.parametrize("dtype", ALLOWED)
@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("narrow", [False, True])
def test_blocks(dtype, free, narrow):
    check(5, 300, 100, (128, 16), free, narrow, dtype)


@pytest.mark.parametrize("activation", POSTS)
@pytest.mark.parametrize("parts", [1, 3])
def test_what_stands_behind(activation, parts):
    check(3, 130, 200, (64, 32), True, False, torch.float32, activation, Config(16, 64, 64, parts))


@pytest.mark.parametrize("m", [1, 16, 17, 70])
def test_numbers_of_rows(m):
    check(m, 96, 64, (32, 16), False, False, torch.float16)


def test_the_input_on_the_left():
    check(70, 96, 64, (32, 16), True, False, torch.float16, "relu", Config(64, 32, 32))


def test_a_block_row_in_several_programs():
    check(3, 512, 64, (256, 16), True, True, torch.float32, "none", Config(16, 64, 32, 2))


sizes = given(
    st.integers(1, 40),
    st.integers(1, 300),
    st.integers(1, 200),
    BLOCKS,
    st.booleans(),
    st.booleans(),
    st.sampled_from(sorted(ALLOWED, key=str)),
    st.integers(1, 3),
    st.tuples(st.booleans(), st.booleans()),
)


def any_sizes(m, n, k, block, free, narrow, dtype, parts, extras):
    height = max(16, min(128, 1 << (block[0] - 1).bit_length()))
    check(m, n, k, block, free, narrow, dtype, "none", Config(16, height, 32, parts), extras)


test_any_sizes = FEW(sizes(any_sizes))
test_many_sizes = pytest.mark.slow(MANY(sizes(any_sizes)))


@pytest.mark.parametrize("dtype", ALLOWED)
@pytest.mark.parametrize("count", [1, 1024, 3000])
def test_one_scale_for_all(dtype, count):
    x, scale, zero = torch.randn(count).to(dtype) * 40, 0.25, -17
    x[0] = 1e4
    values = torch.full((count,), 77, dtype=torch.int8)
    running_static.launch(x, scale, zero, values).run()
    want = ((x.double() / scale).round() + zero).clamp(-128, 127)
    assert torch.equal(values.double(), want)
