"""Dynamic sizes as numbers: products are exact, however many symbols a graph has."""

from __future__ import annotations

import math

from torch.fx.experimental.symbolic_shapes import ShapeEnv

from fxcompress.analysis.axes.sizes import Sizes, is_dynamic


def symbols(count):
    """So many sizes that nothing is known of."""
    environment = ShapeEnv()
    return [environment.create_unbacked_symint() for _ in range(count)]


def test_every_symbol_is_a_number_that_no_other_has_a_factor_of():
    sizes, given = Sizes(), symbols(24)
    numbers = [sizes.of(one) for one in given]
    assert all(map(is_dynamic, numbers))
    assert len(set(numbers)) == 24
    assert all(math.gcd(one, other) == 1 for i, one in enumerate(numbers) for other in numbers[:i])
    assert sizes.of(given[3] * given[20] * 6) == numbers[3] * numbers[20] * 6
    assert sizes.of(given[3] + 1) == numbers[3] + 1
    assert [sizes.of(one) for one in given] == numbers
