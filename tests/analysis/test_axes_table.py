"""The table of groups; what a slot costs has models of two sizes as the witness."""

from __future__ import annotations

import json
import re

import pytest
from axes_models import Residual, Words, axes_of

from fxcompress.analysis.axes import group_table
from fxcompress.analysis.axes.table import common


def parameters(model):
    return sum(one.numel() for one in model.parameters())


def buffers(model):
    return sum(one.numel() for one in model.buffers() if one.dim())


def row(table, name):
    return next(one for one in table.groups if one.name == name)


@pytest.mark.parametrize(("name", "sizes"), [("stem.weight:0", (7, 6)), ("squeeze.weight:0", (8, 5))])
def test_elements_are_what_a_model_with_one_slot_less_has_less(name, sizes):
    found = row(group_table(axes_of("residual")), name)
    whole, smaller = Residual(8, 6), Residual(*sizes)
    assert found.elements == parameters(whole) - parameters(smaller) + buffers(whole) - buffers(smaller)


def test_elements_of_a_head_and_of_a_channel_of_all_heads():
    table = group_table(axes_of("words"))
    heads, keys, values = (row(table, f"qkv.weight:0.{place}") for place in range(3))
    assert heads.elements == parameters(Words(4, 3)) - parameters(Words(3, 3))
    assert keys.elements + values.elements == parameters(Words(4, 3)) - parameters(Words(4, 2))


def test_every_group_is_free_or_pinned_and_goes_to_json():
    table = group_table(axes_of("words"))
    assert len(table.free) + len(table.pinned) == len(table.groups)
    assert row(table, "words.weight:1").inexact == "normalises over it"
    assert row(table, "words.weight:1").inexact_by == "%layer_norm normalises over it"
    assert row(table, "score.weight:0").pinned_by == "%softmax normalises over this axis (softmax)"
    plain = json.loads(json.dumps(table.to_dict()))
    assert [one["name"] for one in plain["groups"]] == [one.name for one in table.groups]


def test_groups_alike_share_a_row():
    lines = str(group_table(axes_of("layers"))).splitlines()
    assert [line.split()[:4] for line in lines[2:4]] == [
        ["blocks.{0-2}.0.weight:0", "3", "5", "3"],
        ["blocks.3.0.weight:0", "1", "7", "3"],
    ]


def test_what_is_left_out_is_said():
    table = group_table(axes_of("layers", widths=range(2, 9)))
    text = table.text(most=4)
    assert "... and 3 groups more; --json or to_dict() has all 7" in text
    assert len(re.findall(r"blocks\.\d\.0\.weight:0 ", text)) == 4
    assert "more; --json" not in str(table)


def test_a_model_of_many_layers_is_a_short_table():
    assert len(str(group_table(axes_of("layers", widths=(5,) * 60))).splitlines()) < 12


def test_unknown_operators_are_named_with_their_calls():
    table = group_table(axes_of("fourier"))
    assert table.unknown["aten.fft_fft.default"] == ("%fft_fft",)
    text = str(table)
    assert "no rule describes aten.fft_fft.default (1 call: %fft_fft), so its axes keep their slots" in text
    assert "is an operator that no rule describes" in text
    assert [one.name for one in table.free] == ["hidden.weight:0"]


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [((3,), "3"), ((0, 1), "{0,1}"), ((4, 2, 3), "{2-4}"), ((9, 2, 5), "{2,5,9}"), ((0, 2, 4, 6, 8), "*")],
)
def test_names_in_common(numbers, shown):
    assert common([f"layers.{n}.mlp.0.weight:0" for n in numbers]) == f"layers.{shown}.mlp.0.weight:0"
