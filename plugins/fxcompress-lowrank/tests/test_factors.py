"""The mathematics, with numpy in float64 as the witness."""

import numpy as np
import pytest
import torch
from fxcompress_lowrank.factors import decompose


def cut(matrix, rank, gram=None):
    down, up = decompose(matrix, gram).factors(rank)
    assert down.shape == (rank, matrix.shape[1])
    assert up.shape == (matrix.shape[0], rank)
    return (up @ down).numpy()


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (6, 6), (1, 4)])
def test_a_cut_leaves_the_error_that_eckart_and_young_say_is_the_least(shape):
    matrix = torch.randn(shape, dtype=torch.float64)
    values = np.linalg.svd(matrix.numpy(), compute_uv=False)
    for rank in range(1, min(shape) + 1):
        error = np.linalg.norm(matrix.numpy() - cut(matrix, rank))
        assert error == pytest.approx(np.sqrt((values[rank:] ** 2).sum()), abs=1e-12)


def test_full_rank_gives_the_matrix_back():
    matrix = torch.randn(7, 4)
    np.testing.assert_allclose(cut(matrix, 4), matrix.numpy(), atol=1e-6)


def test_rank_for_energy_is_the_smallest_that_holds_it():
    matrix = torch.randn(8, 6, dtype=torch.float64)
    squares = np.linalg.svd(matrix.numpy(), compute_uv=False) ** 2
    decomposition = decompose(matrix)
    for energy in (0.0, 0.2, 0.5, 0.9, 0.999, 1.0):
        enough = [rank for rank in range(1, 7) if squares[:rank].sum() >= energy * squares.sum() - 1e-12]
        assert decomposition.rank_for(energy) == enough[0]
        assert decomposition.kept(enough[0]) == pytest.approx(squares[: enough[0]].sum() / squares.sum())


def test_energy_one_of_a_product_of_thin_matrices_finds_their_rank():
    matrix = torch.randn(12, 3, dtype=torch.float64) @ torch.randn(3, 10, dtype=torch.float64)
    assert decompose(matrix).rank_for(1.0) == 3
    np.testing.assert_allclose(cut(matrix, 3), matrix.numpy(), atol=1e-12)


def test_with_data_the_results_differ_least():
    """No matrix of rank r computes W X better than the SVD of W X cut after r terms."""
    matrix = torch.randn(6, 8, dtype=torch.float64)
    inputs = torch.randn(8, 200, dtype=torch.float64) * torch.logspace(0, -2, 8, dtype=torch.float64)[:, None]
    values = np.linalg.svd((matrix @ inputs).numpy(), compute_uv=False)
    for rank in (1, 2, 4):
        best = np.sqrt((values[rank:] ** 2).sum())
        plain = np.linalg.norm((matrix.numpy() - cut(matrix, rank)) @ inputs.numpy())
        aware = np.linalg.norm((matrix.numpy() - cut(matrix, rank, inputs @ inputs.T)) @ inputs.numpy())
        assert best - 1e-9 <= aware <= best * 1.02
        assert aware < plain


def test_data_that_does_not_span_the_space_is_no_obstacle():
    matrix = torch.randn(6, 8, dtype=torch.float64)
    inputs = torch.randn(8, 2, dtype=torch.float64)
    made = cut(matrix, 2, inputs @ inputs.T)
    assert np.isfinite(made).all()
    np.testing.assert_allclose(made @ inputs.numpy(), (matrix @ inputs).numpy(), atol=1e-2)


@pytest.mark.parametrize("gram", [None, torch.zeros(3, 3, dtype=torch.float64)])
def test_zeros_stay_zeros(gram):
    matrix = torch.zeros(4, 3)
    assert not cut(matrix, 1, gram).any()
    assert decompose(matrix, gram).kept(1) == 1.0
    assert decompose(matrix, gram).rank_for(0.5) == 1
