from __future__ import annotations

import cases_products  # noqa: F401
import pytest
import torch
from cases import CASES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from laws import checks, letters
from one_call import Numbers


@pytest.mark.parametrize("name", CASES)
def test_axes_are_free_and_pinned_as_expected(name):
    one = CASES[name](Numbers.seeded(1))
    assert letters(one) == one.free


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=5, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_removing_slots_commutes_with_the_call(name, data):
    one = CASES[name](Numbers(lambda low, high: data.draw(st.integers(low, high))))
    torch.manual_seed(0)
    for check in checks(one, data.draw(st.integers(0, 999))):
        check()
