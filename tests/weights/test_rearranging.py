"""Where an axis stands after calls that only rearrange: against numbered elements."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import Draft

import fxcompress as fxc
from fxcompress.weights.rearranging import moved_axis, rearranged, value_users

aten = torch.ops.aten


def channel_of(numbers, shape, axis):
    """Which index along `axis` of a tensor of `shape` each of its elements, numbered row by row, had."""
    return numbers // math.prod(shape[axis + 1 :]) % shape[axis]


def expected_axis(target, arguments, shape, axis):
    """The axis of the result along which the index of `axis` runs from 0 up and that nothing else moves; else None."""
    numbers = torch.arange(math.prod(shape)).view(shape)
    moved = channel_of(target(numbers, *arguments), shape, axis)
    for place in range(moved.dim()):
        steps = torch.arange(moved.shape[place]).view([-1 if dim == place else 1 for dim in range(moved.dim())])
        if moved.shape[place] == shape[axis] and torch.equal(moved, steps.expand_as(moved)):
            return place
    return None


def node_of(target, arguments, shape):
    draft = Draft()
    node = draft.call(target, draft.input("x", torch.zeros(shape)), *arguments)
    draft.module(node)
    return node


shapes = st.lists(st.integers(2, 4), min_size=2, max_size=4)


@settings(max_examples=40, deadline=None)
@given(shapes, st.data())
def test_reshapes(shape, data):
    factors = [factor for size in shape for factor in ([2, 2] if size == 4 else [size])]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(factors)))) | {0, len(factors)})
    sizes = [math.prod(factors[a:b]) for a, b in itertools.pairwise(cuts)]
    axis = data.draw(st.integers(0, len(shape) - 1))
    node = node_of(aten.view.default, (sizes,), shape)
    assert moved_axis(node, axis) == expected_axis(aten.view.default, (sizes,), shape, axis)


@settings(max_examples=30, deadline=None)
@given(shapes, st.data())
def test_permutations(shape, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    pair = data.draw(st.tuples(st.integers(-len(shape), len(shape) - 1), st.integers(0, len(shape) - 1)))
    order = data.draw(st.permutations(range(len(shape))))
    for target, arguments in (
        (aten.permute.default, (order,)),
        (aten.transpose.int, pair),
        (aten.movedim.int, pair),
    ):
        node = node_of(target, arguments, shape)
        assert moved_axis(node, axis) == expected_axis(target, arguments, shape, axis)


@pytest.mark.parametrize(
    ("target", "arguments", "shape", "axis", "place"),
    [
        (aten.flatten.using_ints, (0, 1), (2, 3, 4), 2, 1),
        (aten.flatten.using_ints, (1, 2), (2, 3, 4), 1, None),
        (aten.unflatten.int, (0, [2, 3]), (6, 4), 1, 2),
        (aten.unsqueeze.default, (1,), (2, 3), 1, 2),
        (aten.squeeze.dim, (0,), (1, 3, 4), 1, 0),
        (aten.t.default, (), (2, 3), 1, 0),
        (aten.contiguous.default, (), (2, 3), 1, 1),
        (aten.dropout.default, (0.0, False), (2, 3), 1, 1),
    ],
)
def test_each_operation(target, arguments, shape, axis, place):
    assert moved_axis(node_of(target, arguments, shape), axis) == place


@pytest.mark.parametrize(("target", "arguments"), [(aten.relu.default, ()), (aten.dropout.default, (0.5, False))])
def test_what_computes_is_none_of_them(target, arguments):
    assert rearranged(node_of(target, arguments, (2, 3))) is None


def test_sizes_that_are_equal_by_chance_do_not_count():
    class Net(torch.nn.Module):
        def forward(self, x):
            return x.flatten(0, 1).transpose(0, 1).reshape(4, -1, 3)

    # The batch of 4 is as many as the channels, and still another size.
    module = fxc.capture(Net().eval(), (torch.randn(4, 3, 4),)).module
    flatten, _, reshape = (node for node in module.graph.nodes if rearranged(node) is not None)
    assert moved_axis(flatten, 2) == 1
    assert moved_axis(flatten, 0) is None
    assert moved_axis(reshape, 0) == 0


def test_users_that_look_at_the_shape_alone():
    draft = Draft()
    x = draft.call(aten.relu.default, draft.input("x", torch.zeros(2, 3)))
    size = draft.call(aten.sym_size.int, x, 0)
    zeros = draft.call(aten.zeros_like.default, x)
    shaped = draft.call(aten.reshape_as.default, zeros, x)
    itself = draft.call(aten.reshape_as.default, x, x)
    added = draft.call(aten.add.Tensor, shaped, x)
    draft.module(added, itself, size)
    assert value_users(x) == [itself, added]
