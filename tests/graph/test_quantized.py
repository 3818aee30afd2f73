"""The quantize and dequantize operators: torch's own and ours, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fxcompress.graph import quantized
from fxcompress.graph.quantized import quantized_decomposed

RANGES = [(torch.int8, -127, 127), (torch.uint8, 0, 255), (torch.int8, -8, 7)]


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize(("dtype", "low", "high"), RANGES)
def test_per_channel(dtype, low, high, ours):
    library = quantized if ours else quantized_decomposed()
    values = torch.randn(3, 4, 2) * 3
    scales, zeros = torch.tensor([0.02, 0.5, 1.0, 0.1]), torch.tensor([0, 3, -2, 1])
    codes = library.quantize_per_channel(values, scales, zeros, 1, low, high, dtype)
    shape = (1, 4, 1)
    expected = np.round(values.numpy() * (1 / scales.numpy()).reshape(shape)) + zeros.numpy().reshape(shape)
    assert codes.dtype == dtype
    assert np.array_equal(codes.numpy(), np.clip(expected, low, high).astype(codes.numpy().dtype))
    back = library.dequantize_per_channel(codes, scales, zeros, 1, low, high, dtype, out_dtype=torch.float32)
    wide = (codes.numpy().astype(np.float64) - zeros.numpy().reshape(shape)) * scales.double().numpy().reshape(shape)
    assert np.allclose(back.numpy(), wide, rtol=1e-6)
    without = library.dequantize_per_channel(codes, scales, None, 1, low, high, dtype)
    assert np.allclose(
        without.numpy(), codes.numpy().astype(np.float64) * scales.double().numpy().reshape(shape), rtol=1e-6
    )


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize(("dtype", "low", "high"), RANGES)
def test_per_tensor(dtype, low, high, ours):
    library = quantized if ours else quantized_decomposed()
    values = torch.randn(5, 4) * 3
    codes = library.quantize_per_tensor(values, 0.1, 2, low, high, dtype)
    expected = np.clip(np.round(values.numpy() * np.float32(1 / 0.1)) + 2, low, high)
    assert np.array_equal(codes.numpy(), expected.astype(codes.numpy().dtype))
    back = library.dequantize_per_tensor(codes, 0.1, 2, low, high, dtype)
    assert np.allclose(back.numpy(), (codes.numpy().astype(np.float64) - 2) * 0.1, rtol=1e-6)


@pytest.mark.parametrize("ours", [True, False])
def test_groups(ours):
    library = quantized if ours else quantized_decomposed()
    codes = torch.randint(-8, 8, (3, 12), dtype=torch.int8)
    scales, zeros = torch.rand(3, 3) + 0.1, torch.randint(-8, 8, (3, 3), dtype=torch.int8)
    for given in (zeros, None):
        back = library.dequantize_per_channel_group(codes, scales, given, -8, 7, torch.int8, 4, torch.float32)
        offsets = np.repeat(np.zeros((3, 3)) if given is None else zeros.numpy().astype(np.float64), 4, axis=1)
        wide = (codes.numpy().astype(np.float64) - offsets) * np.repeat(scales.double().numpy(), 4, axis=1)
        assert np.allclose(back.numpy(), wide, rtol=1e-6)


@pytest.mark.parametrize("ours", [True, False])
def test_tokens(ours):
    library = quantized if ours else quantized_decomposed()
    values = torch.randn(2, 5, 7) * torch.logspace(-3, 3, 5)[:, None]
    values[0, 0], values[0, 1], values[1, 2] = 0, values[0, 1].abs(), -values[1, 2].abs()
    scales, zeros = library.choose_qparams_per_token_asymmetric(values, torch.int8)
    assert (scales.dtype, zeros.dtype, scales.shape) == (torch.float64, torch.int64, (2, 5, 1))
    wide = values.double().numpy()
    least, most = np.minimum(wide.min(-1, keepdims=True), 0), np.maximum(wide.max(-1, keepdims=True), 0)
    assert np.allclose(scales.numpy(), np.maximum((most - least) / 255, np.finfo(np.float32).eps), rtol=1e-6)
    limits = (scales, zeros, -128, 127, torch.int8)
    codes = library.quantize_per_token(values, *limits)
    expected = np.clip(np.round(wide / scales.numpy() + zeros.numpy()), -128, 127)
    assert codes.dtype == torch.int8
    assert np.abs(codes.numpy() - expected).max() <= 1
    assert (codes.numpy() != expected).mean() < 0.05
    back = library.dequantize_per_token(codes, *limits, torch.float32)
    assert np.allclose(back.numpy(), (codes.numpy().astype(np.float64) - zeros.numpy()) * scales.numpy(), rtol=1e-6)
    assert (np.abs(back.numpy() - wide) <= scales.numpy() * 0.501).all()


def test_ours_and_torchs_choose_alike():
    values = torch.randn(64, 33) + torch.linspace(-3, 3, 64)[:, None]
    ours = quantized.choose_qparams_per_token_asymmetric(values, torch.int8)
    theirs = quantized_decomposed().choose_qparams_per_token_asymmetric(values, torch.int8)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_halves_come_out_as_asked():
    codes = torch.ones(2, 2, dtype=torch.int8)
    for library in (quantized, quantized_decomposed()):
        made = library.dequantize_per_channel(
            codes, torch.ones(2), None, 0, -127, 127, torch.int8, out_dtype=torch.float16
        )
        assert made.dtype == torch.float16


def test_schemas_are_torchs_own():
    for schema in quantized._SCHEMAS:
        name = schema.partition("(")[0]
        theirs = getattr(quantized_decomposed(), name).default._schema
        assert str(torch._C.parse_schema(f"quantized_decomposed::{schema}")) == str(theirs)
