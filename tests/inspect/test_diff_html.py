"""The page of a diff: well formed, self-contained, marked cell by cell, and deaf to hostile names."""

from __future__ import annotations

import dataclasses

import torch
from drafts import Draft, aten
from pages import checked

from fxcompress.inspect import diff_snapshots, snapshot
from fxcompress.inspect.arguments import Argument, Piece
from fxcompress.inspect.diff import GraphDiff

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(1)>&amp;'\n\x1b[31m\u202e"


def chain(length, changed=(), label=""):
    draft = Draft()
    x = draft.input("x", 2, 2)
    for number in range(length):
        x = draft.call(aten.mul.Tensor, x, 2.0 if number in changed else 1.0, scope=f"part{number // 10}.mul{number}")
    weight = draft.tensor("w", torch.ones(2, 2))
    return snapshot(draft.module(draft.call(aten.matmul.default, x, weight)), label)


def test_only_what_changed_is_marked():
    page = checked(diff_snapshots(chain(30, label="a"), chain(30, {12}, label="b")).to_html())
    assert page.marked == ["1.0", "2.0"]
    assert "1 changed" in page.text
    assert len(page.classes("changed")) == 2
    assert len(page.classes("removed")) == len(page.classes("added")) == 0


def test_unchanged_runs_are_folded_away_but_there():
    diff = diff_snapshots(chain(30), chain(30, {12}))
    page = checked(diff.to_html())
    summaries = [tag for tag, _ in page.elements if tag == "summary"]
    assert len(summaries) == 2
    for row in diff.before.rows:
        assert page.text.count(f"%{row.name} ") >= 1
    assert "12 unchanged nodes" in page.text
    assert len(page.classes("pair")) == 33 + 1


def test_sides_without_a_node_are_empty():
    page = checked(diff_snapshots(chain(3), chain(5)).to_html())
    assert len(page.classes("none")) == 2
    assert not page.marked
    assert "2 added" in page.text


def test_bars_are_on_one_scale():
    def net(*sizes):
        draft = Draft()
        x = draft.input("x", 1, 1)
        for number, size in enumerate(sizes):
            weight = draft.tensor(f"m{number}.l.weight", torch.ones(1, size))
            x = draft.call(aten.matmul.default, x, weight, scope=f"m{number}.l")
            x = draft.call(aten.sum.dim_IntList, x, [1], True, scope=f"m{number}")
        return snapshot(draft.module(x))

    page = checked(diff_snapshots(net(4, 8), net(4, 2)).to_html())
    widths = [attributes["style"] for attributes in page.classes("bar") if "style" in attributes]
    assert widths == ["width:50.00%", "width:50.00%", "width:100.00%", "width:25.00%"]


def test_no_change():
    page = checked(diff_snapshots(chain(3), chain(3)).to_html())
    assert "No change." in page.text
    assert not page.marked


def hostile(diff):
    """The diff with every text in it replaced by one that wants out."""

    def row(old):
        if old is None:
            return None
        pieces = (Piece("text", HOSTILE), Piece("node", HOSTILE))
        parameter = Piece("parameter", HOSTILE)
        parameters = tuple(dataclasses.replace(p, path=HOSTILE, owner=HOSTILE) for p in old.parameters)
        arguments = (Argument(HOSTILE, (*pieces, parameter) if parameters else pieces, True),)
        texts = {"name": HOSTILE, "op": HOSTILE, "target": HOSTILE, "result": HOSTILE, "scope": HOSTILE}
        return dataclasses.replace(old, **texts, arguments=arguments, parameters=parameters)

    sides = [
        dataclasses.replace(side, label=HOSTILE, rows=tuple(map(row, side.rows))) for side in (diff.before, diff.after)
    ]
    entries = tuple(dataclasses.replace(e, before=row(e.before), after=row(e.after)) for e in diff.entries)
    return GraphDiff(*sides, entries, dataclasses.replace(diff.renaming, scopes={HOSTILE: "other"}))


def test_hostile_names_stay_text():
    source = hostile(diff_snapshots(chain(5), chain(6, {2}))).to_html()
    page = checked(source)
    assert "<script>alert(1)</script>" in page.text
    assert "\x1b" not in source
    assert "\u202e" not in source


def test_two_thousand_nodes_stay_a_page_of_moderate_size():
    source = diff_snapshots(chain(2000), chain(2000, {1000})).to_html()
    checked(source)
    assert len(source) < 2_000_000
