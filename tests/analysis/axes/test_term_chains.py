"""Chains of views, permutations and pieces: by terms, and by moving numbered elements."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from labelling import factorised, labels

from fxcompress.analysis.axes.terms import Term, leaf, product, total
from fxcompress.analysis.axes.unification import match_products, unify

WHY = "does not fit"


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_chains_of_calls_move_slots_as_they_move_elements(data):
    sizes = data.draw(st.lists(st.sampled_from([2, 3, 4, 6, 8]), min_size=1, max_size=3))
    source = [leaf(size) for size in sizes]
    axes, tensor = list(source), torch.arange(prod(sizes)).reshape(sizes)
    for _ in range(data.draw(st.integers(1, 5))):
        step = data.draw(st.sampled_from([viewed, permuted, pieces_turned]))
        axes, tensor = step(data.draw, axes, tensor)
    assert [term.size for term in axes] == list(tensor.shape)
    origin = labels(product(*source)) if prod(sizes) > 1 else [frozenset()]
    moved = labels(product(*axes))
    assert moved == [origin[place] for place in tensor.reshape(-1).tolist()]


def viewed(draw, axes: list[Term], tensor: torch.Tensor) -> tuple[list[Term], torch.Tensor]:
    sizes = factorised(draw, tensor.numel())
    made = [leaf(size) for size in sizes]
    match_products(axes, made, WHY)
    return made, tensor.reshape(sizes)


def permuted(draw, axes: list[Term], tensor: torch.Tensor) -> tuple[list[Term], torch.Tensor]:
    order = draw(st.permutations(range(len(axes))))
    return [axes[place] for place in order], tensor.permute(order)


def pieces_turned(draw, axes: list[Term], tensor: torch.Tensor) -> tuple[list[Term], torch.Tensor]:
    """Split an axis, and concatenate the pieces in another order, one of them perhaps twice."""
    dim = draw(st.integers(0, len(axes) - 1))
    size = axes[dim].size
    ends = [0, *sorted(draw(st.sets(st.integers(1, max(1, size - 1)), max_size=2))), size] if size > 1 else [0, size]
    made = [leaf(b - a) for a, b in pairwise(ends)]
    unify(axes[dim], total(*made), WHY)
    order = draw(st.permutations(range(len(made))))
    parts = [tensor.narrow(dim, ends[place], made[place].size) for place in order]
    axes = [total(*(made[place] for place in order)) if place == dim else one for place, one in enumerate(axes)]
    return axes, torch.cat(parts, dim)
