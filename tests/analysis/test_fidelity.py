"""Measures of likeness against numpy in float64 and against cases whose answer is known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fxcompress.analysis import fidelity
from fxcompress.analysis.fidelity import compare_outputs, cosine, largest_difference, sqnr_db
from fxcompress.errors import VerificationFailed

nan, inf = math.nan, math.inf


@pytest.mark.parametrize("chunk", [7, 1 << 20])
def test_the_measures_are_those_of_numpy(monkeypatch, chunk):
    monkeypatch.setattr(fidelity, "CHUNK", chunk)
    torch.manual_seed(0)
    reference = {"a": torch.randn(5, 7), "b": [torch.randn(3, dtype=torch.float64), torch.randn(4).half()]}
    value = {"a": reference["a"] + 0.1 * torch.randn(5, 7), "b": [tensor * 1.1 for tensor in reference["b"]]}
    left, right = (
        np.concatenate([t.double().numpy().ravel() for t in (nest["a"], *nest["b"])]) for nest in (reference, value)
    )
    found = compare_outputs(reference, value)
    assert found.sqnr_db == pytest.approx(10 * np.log10((left**2).sum() / ((left - right) ** 2).sum()))
    assert found.cosine == pytest.approx(left @ right / np.linalg.norm(left) / np.linalg.norm(right))
    assert found.largest_difference == pytest.approx(np.abs(left - right).max())
    assert found.agreement == 1
    assert not found.equal


def test_known_ratios():
    signal = torch.full((1000,), 10.0)
    assert sqnr_db(signal, signal + 1) == pytest.approx(20)
    assert sqnr_db(signal, signal * 0.9) == pytest.approx(20, abs=1e-4)
    assert cosine(signal, -signal) == pytest.approx(-1)
    assert cosine(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])) == pytest.approx(0)
    assert largest_difference(signal, signal - 3) == 3


@given(st.lists(st.floats(-(2.0**100), 2.0**100), min_size=1, max_size=20))
def test_a_value_is_like_itself(values):
    tensor = torch.tensor(values, dtype=torch.float64)
    found = compare_outputs(tensor, tensor.clone())
    assert (found.sqnr_db, found.cosine, found.largest_difference, found.agreement) == (inf, 1.0, 0.0, 1.0)
    assert found.equal


def test_noise_in_float32_does_not_drown_in_a_large_sum():
    reference = torch.full((3_000_000,), 1.0)
    value = reference.clone()
    value[5] += 1e-3
    assert sqnr_db(reference, value) == pytest.approx(10 * math.log10(3e6 / 1e-6), abs=0.01)


def test_zeros():
    zeros, ones = torch.zeros(3), torch.ones(3)
    assert (sqnr_db(zeros, zeros), cosine(zeros, zeros)) == (inf, 1.0)
    assert sqnr_db(zeros, ones) == -inf
    assert math.isnan(cosine(zeros, ones))
    assert sqnr_db(ones, zeros) == 0
    assert sqnr_db(torch.zeros(0), torch.zeros(0)) == inf


@pytest.mark.parametrize("odd", [nan, inf, -inf])
def test_what_is_not_finite_in_both_is_left_out(odd):
    left, right = torch.tensor([odd, 10.0, 0.0]), torch.tensor([odd, 9.0, 0.0])
    assert sqnr_db(left, right) == pytest.approx(20)
    assert largest_difference(left, right) == 1
    assert compare_outputs(left, left).equal


@pytest.mark.parametrize(("one", "other"), [(nan, 1.0), (1.0, nan), (inf, 1.0), (inf, -inf), (nan, inf)])
def test_what_is_not_finite_in_one_only_is_as_wrong_as_can_be(one, other):
    found = compare_outputs(torch.tensor([one, 1.0]), torch.tensor([other, 1.0]))
    assert (found.sqnr_db, found.largest_difference) == (-inf, inf)
    assert math.isnan(found.cosine)
    assert not found.equal


def test_what_is_no_floating_point_number_agrees_or_not():
    reference = (torch.tensor([1, 2, 3, 4]), torch.tensor([True, False]), 3, None, "word")
    value = (torch.tensor([1, 2, 3, 5]), torch.tensor([True, True]), 3, None, "word")
    found = compare_outputs(reference, value)
    assert found.agreement == pytest.approx(7 / 9)
    assert found.sqnr_db == inf
    assert not found.equal


def test_numbers_and_complex_tensors():
    assert compare_outputs(1.5, 2.0).largest_difference == 0.5
    left = torch.tensor([3 + 4j, 1j])
    assert sqnr_db(left, left * 1.1) == pytest.approx(20, abs=1e-4)
    assert sqnr_db(left.conj(), left.conj() * 1.1) == pytest.approx(20, abs=1e-4)


def test_gradients_are_no_obstacle():
    weight = torch.ones(3, requires_grad=True)
    assert sqnr_db(weight * 2, weight * 2) == inf


@pytest.mark.parametrize(
    ("reference", "value", "word"),
    [
        ((torch.ones(2),), [torch.ones(2)], "structure"),
        ({"a": torch.ones(2)}, {"b": torch.ones(2)}, "structure"),
        (torch.ones(2), (torch.ones(2),), "structure"),
        ({"a": [torch.ones(2, 3)]}, {"a": [torch.ones(3, 2)]}, r"output\['a'\]\[0\] .* f32\[2, 3\] became f32\[3, 2\]"),
        (torch.ones(()), torch.ones(1), "another shape"),
    ],
)
def test_another_structure_or_shape_is_an_error(reference, value, word):
    with pytest.raises(VerificationFailed, match=word):
        compare_outputs(reference, value)
