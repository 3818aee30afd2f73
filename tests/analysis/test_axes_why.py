"""Why an axis is pinned: the ways are those that one finds by hand, exist for every pinned axis, and are shortest."""

from __future__ import annotations

import json
import operator
from collections import deque

import pytest
import torch
from axes_models import EXAMPLES, axes_of

import fxcompress as fxc
from fxcompress.analysis.axes import analyse, why
from fxcompress.analysis.axes.axis import CAT, Pin
from fxcompress.analysis.axes.terms import leaves


def only(axes, query):
    (found,) = why(axes, query).slots
    return found


def hops(found):
    return [(step.axis, step.call, step.how, step.module) for step in found.steps]


def test_the_way_to_a_result():
    found = only(axes_of("residual"), "head.bias")
    assert found.pinned == "%linear:1 is a result of the model"
    assert hops(found) == [("%linear:1", "aten.linear", "same slots", "head")]
    assert (found.size, found.group, found.carriers) == (5, "head.weight:0", ())


def test_what_is_pinned_where_it_stands_has_no_way():
    found = only(axes_of("residual"), "stem.weight:3")
    assert (found.pinned, found.steps) == ("%conv2d slides over this axis", ())
    assert only(axes_of("words"), "words.weight:0").pinned == (
        "%embedding looks positions of this axis up by their numbers"
    )


def test_the_way_through_a_contraction_to_an_input():
    found = only(axes_of("residual"), "stem.weight:1")
    assert found.pinned == "%image:1 is an input of the model"
    assert hops(found) == [("%image:1", "aten.conv2d", "multiplied and added up", "stem")]


def test_the_way_to_a_softmax():
    found = only(axes_of("words"), "score.bias")
    assert found.pinned == "%softmax normalises over this axis (softmax)"
    assert hops(found) == [
        ("%linear_2:2", "aten.linear", "same slots", "score"),
        ("%mul:2", "aten.mul", "same slots", ""),
    ]


def test_the_way_goes_from_a_part_to_the_whole_and_never_from_part_to_part():
    axes = axes_of("joined")
    found = why(axes, "top.weight:1").slots
    pinned, free = found
    assert free.pinned is None
    assert [step.how for step in pinned.steps] == ["multiplied and added up", "joined", "same slots"]
    assert [step.axis for step in pinned.steps] == ["%cat:1", "%tanh:1", "%linear:1"]
    assert why(axes, "top.weight:1").made_of == {"top.weight:1": ".0 + .1"}


def test_the_way_through_factors_that_two_links_of_a_call_share():
    axes = axes_of("grouped")
    groups, inner = why(axes, "one.weight:0").slots
    assert groups.pinned is not None
    assert {step.call for step in groups.steps} <= {"aten.conv2d", "aten.relu", "aten.unflatten", "aten.sum"}
    assert inner.pinned is None
    assert why(axes, "one.weight:0").made_of == {"one.weight:0": ".0 * .1"}
    assert (groups.size, inner.size) == (4, 3)


class Overlapping(torch.nn.Module):
    """Reads the first eight of nine positions, and the last eight."""

    def __init__(self):
        super().__init__()
        self.enter, self.again, self.leave = torch.nn.Linear(4, 9), torch.nn.Linear(8, 9), torch.nn.Linear(9, 4)

    def forward(self, x):
        y = self.enter(x)
        return self.leave(y + self.again(y[:, :8]) + self.again(y[:, 1:]))


def test_what_a_cut_leaves_over_is_said_of_the_call_that_cuts():
    axes = analyse(fxc.capture(Overlapping().eval(), (torch.randn(2, 4),)).module)
    (*_, last) = why(axes, "enter.bias:0").slots
    assert (last.size, last.pinned.split(" ", 1)[1]) == (1, "leaves a piece of one position")
    assert last.steps[-1].call == "aten.slice"


def test_an_unknown_operator_is_the_reason():
    found = only(axes_of("fourier"), "enter.weight:0")
    assert found.pinned == "%fft_fft is an operator that no rule describes"
    assert hops(found) == [("%linear:1", "aten.linear", "same slots", "enter")]


def test_a_free_axis_names_its_group_and_who_carries_it():
    found = only(axes_of("residual"), "squeeze.weight:0")
    assert (found.pinned, found.inexact, found.size) == (None, None, 6)
    assert found.group == "squeeze.weight:0"
    assert found.carriers == ("squeeze.weight:0", "squeeze.bias:0", "expand.weight:1")
    text = str(found)
    assert "6 slots, free: group squeeze.weight:0" in text
    assert "exact     yes" in text


def test_what_is_not_exact_says_where():
    found = only(axes_of("words"), "norm.weight")
    assert found.inexact == "%layer_norm normalises over it"
    assert "exact     no: %layer_norm normalises over it" in str(found)


def test_a_layer_norm_is_in_the_way_indeed():
    """The witness for the above: a model with zeros is another one than the model without the slot."""
    x, shorter = torch.randn(3, 4), torch.nn.functional.layer_norm
    zeroed = torch.cat([x[:, :3], torch.zeros(3, 1)], 1)
    assert not torch.allclose(shorter(zeroed, (4,))[:, :3], shorter(x[:, :3], (3,)), atol=1e-2)


def test_dims_count_from_the_end_too_and_no_dim_means_all():
    axes = axes_of("residual")
    assert why(axes, "stem.weight:-4").slots == why(axes, "stem.weight:0").slots
    assert [one.axis for one in why(axes, "stem.weight").slots] == [f"stem.weight:{dim}" for dim in range(4)]


def test_nodes_are_asked_about_by_their_names():
    found = only(axes_of("residual"), "%relu:0")
    assert (found.size, found.pinned) == (None, "%image:0 is an input of the model")
    assert "a dynamic number of slots" in str(found)
    assert [one.axis for one in why(axes_of("words"), "%chunk:0").slots] == [f"%chunk[{n}]:0" for n in range(3)]


def test_a_single_number_and_a_single_slot():
    assert str(why(axes_of("words"), "temperature")) == "temperature: a single number, which has no axes"
    found = only(axes_of("residual"), "squeeze.weight:2")
    assert (found.size, found.pinned) == (1, "it is the only one")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("stem.wieght", "the graph reads no tensor 'stem.wieght'\n  hint: did you mean 'stem.weight'?"),
        ("stem.weight:4", "stem.weight has no dim '4'\n  hint: its dims are 0 to 3"),
        ("stem.weight:x", "stem.weight has no dim 'x'\n  hint: its dims are 0 to 3"),
        ("stem.bias:1", "stem.bias has no dim '1'\n  hint: its only dim is 0"),
        ("head", "head is a module\n  hint: below it there are: head.weight, head.bias"),
        ("%rleu", "the graph reads no tensor '%rleu'\n  hint: did you mean '%relu'?"),
    ],
)
def test_what_is_not_there_is_an_error_with_the_nearest_name(query, message):
    with pytest.raises(fxc.FxcompressError) as caught:
        why(axes_of("residual"), query)
    assert str(caught.value) == message
    assert caught.value.exit_code == 2


def test_a_long_way_is_cut_in_the_middle_and_whole_for_programs():
    axes = axes_of("layers", widths=(5,) * 12)
    whole = why(axes, "blocks.11.2.bias")
    assert json.loads(json.dumps(whole.to_dict()))["slots"][0]["steps"][0]["call"] == "aten.linear"
    start = why(axes, "%x:1")
    assert start.slots[0].steps == ()
    torso = why(axes, "%add_5:0")
    assert len(torso.slots[0].steps) <= 8
    lines = str(type(whole.slots[0])("a:0", None, 3, "why", whole.slots[0].steps * 40)).splitlines()
    assert len(lines) == 1 + 17
    assert any("more steps" in line for line in lines)


def touched(node):
    """The values that a call takes and gives, as a graph has them; single results of a call count as the call's."""
    found = {node}
    for given in node.all_input_nodes:
        while given.target is operator.getitem:
            given = given.args[0]
        found.add(given)
    return found


def bare(axis):
    name = axis.rpartition(":")[0]
    return name.partition("[")[0] if name.startswith("%") else name


def every_pinned(axes):
    for value in axes.stored.values():
        for axis in value.axes:
            for place, leaf in enumerate(leaves(axis.term)):
                if isinstance(leaf.pin, Pin):
                    yield axis, leaf, why(axes, f"{value}:{axis.dim}").slots[place]


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_pinned_axis_has_a_way_along_calls_that_touch_both_tensors(name):
    axes = axes_of(name)
    nodes = {node.name: node for node in axes.module.graph.nodes}
    count = 0
    for axis, leaf, found in every_pinned(axes):
        places = [f"{axis.value}:{axis.dim}", *(step.axis for step in found.steps)]
        for before, step in zip(places, found.steps, strict=False):
            names = {str(one.target) if one.op == "get_attr" else f"%{one.name}" for one in touched(nodes[step.node])}
            assert {bare(before), bare(step.axis)} <= names
        if leaf.pin.axis is not None:
            assert bare(places[-1]) == repr(leaf.pin.axis.value).partition("[")[0]
        count += 1
    assert count


def distance(axes, start, leaf):
    """The length of the shortest way from `start` to where the pin was stated, by breadth first."""
    ways = {}
    for link in axes.links:
        some = [one for one in link.axes if any(atom is leaf for atom in leaves(one.term))]
        for one in some:
            for other in some:
                if link.kind != CAT or link.axes[-1] in (one, other):
                    ways.setdefault(one, set()).add(other)
    waiting, seen = deque([(start, 0)]), {start}
    while waiting:
        axis, steps = waiting.popleft()
        if axis is leaf.pin.axis:
            return steps
        for other in ways.get(axis, set()) - seen:
            seen.add(other)
            waiting.append((other, steps + 1))
    return None


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "grouped"])
def test_the_way_is_the_shortest(name):
    axes = axes_of(name)
    for axis, leaf, found in every_pinned(axes):
        if leaf.pin.axis is not None:
            assert len(found.steps) == distance(axes, axis, leaf)
