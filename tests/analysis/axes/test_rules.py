"""Every rule against the call that it describes: what is free, and what becomes of results without slots."""

from __future__ import annotations

import warnings

import pytest
import torch
from all_cases import CASES
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import checks, letters
from one_call import Numbers, T, call

from fxcompress.analysis.axes.rules import TABLE

# What has a rule and no case, with the reason.
WITHOUT_CASE = {"_grouped_mm": "takes float32 in rows of 16 bytes: its rule is tried under another name, below"}
GROUPED = "axes_tests::grouped"


@pytest.fixture(autouse=True)
def _warnings_of_torch():
    """Some operators warn that they will change; that is not what is tested."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def test_every_operator_with_a_rule_has_a_case():
    tried = {CASES[name](Numbers.seeded(0)).target.split(".")[0] for name in CASES}
    known = {str(target).split(".")[1] for target in TABLE if not isinstance(target, str)}
    assert sorted(known - tried - set(WITHOUT_CASE)) == []


@pytest.mark.parametrize("name", CASES)
def test_axes_are_free_and_pinned_as_expected(name):
    one = CASES[name](Numbers.seeded(1))
    assert letters(one) == one.free


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=4, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_removing_slots_commutes_with_the_call(name, data):
    one = CASES[name](Numbers(lambda low, high: data.draw(st.integers(low, high))))
    torch.manual_seed(0)
    for check in checks(one, data.draw(st.integers(0, 999))):
        check()


@pytest.fixture
def grouped(monkeypatch):
    """An operator like that of experts, in float64, with the rule of the one that transformers brings."""
    library = torch.library.Library("axes_tests", "FRAGMENT")
    library.define("grouped(Tensor rows, Tensor weights, Tensor offsets) -> Tensor")

    def product_of_pieces(rows, weights, offsets):
        pieces = rows.tensor_split(offsets[:-1])
        return torch.cat([piece @ weight for piece, weight in zip(pieces, weights, strict=True)])

    library.impl("grouped", product_of_pieces, "CPU")
    monkeypatch.setitem(TABLE, GROUPED, TABLE["transformers::grouped_mm_fallback"])
    yield
    library._destroy()


@pytest.mark.parametrize("seed", range(4))
def test_experts_keep_their_number_and_lose_channels(grouped, seed):
    n = Numbers.seeded(seed)
    i, j = n(), n()
    one = call(f"{GROUPED}.default", T(6, i), T(2, i, j), T(2, fill="ends"), free="pf pff p -> pf")
    assert letters(one) == one.free
    for check in checks(one, seed):
        check()
