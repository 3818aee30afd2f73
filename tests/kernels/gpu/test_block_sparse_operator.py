"""Linears of stored blocks as the CPU runs them: results in float64, what torch does with operators, and errors."""

from __future__ import annotations

import pytest
import torch
from blocked_weights import blocked
from gpu_weights import ACTIVATIONS

from fxcompress.kernels.products import POSTS

ops = torch.ops.fxcompress


def call(x, operands, bias, residual, block, outputs, activation="none"):
    return ops.gpu_linear_block_sparse(x, *operands, bias, residual, block, outputs, activation)


@pytest.mark.parametrize("block", [(16, 16), (128, 16), (24, 12)])
@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("activation", POSTS)
def test_blocks(block, free, narrow, activation):
    operands, weight = blocked(70, 50, block, free, narrow)
    x, bias, residual = torch.randn(2, 3, 50), torch.randn(70), torch.randn(2, 3, 70)
    got = call(x, operands, bias, residual, block, 70, activation)
    want = ACTIVATIONS[activation](x.double() @ weight.T + bias.double()) + residual.double()
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rounds_once(dtype):
    operands, weight = blocked(64, 96, (32, 16), dtype=dtype)
    x = torch.randn(5, 96).to(dtype)
    want = x.double() @ weight.T
    got = call(x, operands, None, None, (32, 16), 64)
    assert (got.double() - want).abs().max() <= torch.finfo(dtype).eps * want.abs().max()


@pytest.mark.parametrize("free", [False, True])
def test_torch_takes_it_for_an_operator(free):
    operands, _ = blocked(32, 48, (16, 16), free)
    arguments = (torch.randn(3, 48), *operands, torch.randn(32), None, [16, 16], 32, "gelu")
    torch.library.opcheck(ops.gpu_linear_block_sparse.default, arguments)
    torch.library.opcheck(ops.gpu_quantize_tensor.default, (torch.randn(3, 5), 0.1, -4))


def test_exports_with_any_number_of_rows():
    operands, weight = blocked(32, 48, (16, 16))

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks, self.columns = (torch.nn.Buffer(one) for one in operands[:2])

        def forward(self, x):
            return call(x, (self.blocks, self.columns, None, None), None, None, [16, 16], 32)

    rows = torch.export.Dim("rows")
    program = torch.export.export(Net(), (torch.randn(4, 48),), dynamic_shapes=({0: rows},))
    x = torch.randn(7, 48)
    torch.testing.assert_close(program.module()(x).double(), x.double() @ weight.T, rtol=1e-5, atol=1e-4)


def test_what_does_not_fit_is_refused():
    operands, _ = blocked(32, 48, (16, 16))
    x = torch.randn(3, 48)
    with pytest.raises(ValueError, match="33 outputs"):
        call(x, operands, None, None, (16, 16), 33)
    with pytest.raises(ValueError, match="blocks of"):
        call(x, operands, None, None, (16, 8), 32)
    with pytest.raises(ValueError, match="with scales"):
        call(x.half(), operands, None, None, (16, 16), 32)
    with pytest.raises(ValueError, match="activation"):
        call(x, operands, None, None, (16, 16), 32, "tanh")


def test_one_scale_for_all_rounds_half_to_even():
    x = torch.tensor([0.5, 1.5, -0.5, -1.5, 300.0, -300.0, 0.0])
    assert ops.gpu_quantize_tensor(x, 1.0, 1).tolist() == [1, 3, 1, -1, 127, -128, 1]
