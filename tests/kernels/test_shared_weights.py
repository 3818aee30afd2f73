"""Looking weights up, and the gradients of what they share, against sums written out in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fxcompress.kernels  # noqa: F401  (registers the operators)

ops = torch.ops.fxcompress


def looked_up(codebook, indices):
    """The weight, element by element, in plain Python."""
    rows, blocks = indices.shape[0], len(codebook)
    size = -(-rows // blocks)
    found = torch.zeros(indices.shape, dtype=codebook.dtype)
    for place in range(indices.numel()):
        at = []
        rest = place
        for length in reversed(indices.shape):
            at.append(rest % length)
            rest //= length
        at = tuple(reversed(at))
        index = int(indices[at])
        found[at] = 0.0 if index == 0 else codebook[at[0] // size, index - 1]
    return found


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.integers(1, 4),
    st.integers(1, 6),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    st.integers(0, 10_000),
)
def test_it_is_the_lookup(shape, rows, values, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    blocks = -(-shape[0] // rows)
    codebook = torch.randn(blocks, values, generator=generator).to(dtype)
    indices = torch.randint(0, values + 1, shape, generator=generator, dtype=torch.uint8)
    want = looked_up(codebook, indices)
    for op in (ops.shared_weights, ops.held_shared_weights):
        got = op(codebook, indices)
        assert got.dtype == dtype
        assert torch.equal(got, want)


def test_all_255_values():
    codebook = torch.arange(1.0, 256.0)[None]
    indices = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(ops.shared_weights(codebook, indices), torch.arange(256.0))


@pytest.mark.parametrize("blocks", [1, 3])
def test_gradients_are_the_sums_over_what_is_shared(blocks):
    torch.manual_seed(0)
    codebook = torch.randn(blocks, 4, requires_grad=True)
    indices = torch.randint(0, 5, (7, 6), dtype=torch.uint8)
    given_back = torch.randn(7, 6)
    ops.shared_weights(codebook, indices).backward(given_back)
    size = -(-7 // blocks)
    for block in range(blocks):
        for value in range(4):
            part = indices[block * size : (block + 1) * size] == value + 1
            want = given_back[block * size : (block + 1) * size].double()[part].sum()
            assert float(codebook.grad[block, value]) == pytest.approx(float(want), rel=1e-6, abs=1e-7)


def test_thousands_of_gradients_lose_nothing():
    codebook = torch.ones(1, 1, requires_grad=True)
    indices = torch.ones(1000, 1000, dtype=torch.uint8)
    ops.shared_weights(codebook, indices).backward(torch.full((1000, 1000), 0.1))
    want = 1e6 * float(torch.tensor(0.1))
    assert float(codebook.grad) == pytest.approx(want, rel=1e-7)


def test_numerical_gradients_of_first_and_second_order():
    torch.manual_seed(0)
    codebook = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    indices = torch.randint(0, 4, (5, 4), dtype=torch.uint8)

    def f(values):
        return ops.shared_weights(values, indices).square()

    assert torch.autograd.gradcheck(f, (codebook,))
    assert torch.autograd.gradgradcheck(f, (codebook,))


def test_operator_checks():
    codebook = torch.randn(2, 3, requires_grad=True)
    indices = torch.randint(0, 4, (5, 4), dtype=torch.uint8)
    torch.library.opcheck(ops.shared_weights.default, (codebook, indices))


def test_held_weights_follow_what_is_written():
    codebook, indices = torch.randn(1, 3), torch.randint(0, 4, (5, 4), dtype=torch.uint8)
    first = ops.held_shared_weights(codebook, indices)
    assert ops.held_shared_weights(codebook, indices) is first
    codebook.mul_(2)
    assert torch.equal(ops.held_shared_weights(codebook, indices), 2 * first)
    indices.zero_()
    assert not ops.held_shared_weights(codebook, indices).any()
