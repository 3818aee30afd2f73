"""A diff as text, as a summary, and as JSON: written out by hand."""

from __future__ import annotations

import json

import torch
from drafts import Draft, aten

from fxcompress.inspect import diff_snapshots, snapshot


def network(width, tanh, label):
    """Two convolutions of `width` channels and a head; half of the head's weight is zero where `tanh` is missing."""
    draft = Draft()
    x = draft.input("x", 1, 3, 4, 4)
    for name, channels in (("layer1.a", 3), ("layer1.b", width)):
        weight = torch.linspace(1, 2, width * channels).reshape(width, channels, 1, 1)
        x = draft.call(aten.conv2d.default, x, draft.tensor(f"{name}.weight", weight), scope=name, name=name[-1])
        x = draft.call(aten.relu.default, x, scope="layer1", name=f"{name[-1]}_relu")
    x = draft.call(aten.mean.dim, x, [2, 3], scope="", name="mean")
    if tanh:
        x = draft.call(aten.tanh.default, x, scope="", name="tanh")
    head = torch.ones(2, width)
    if not tanh:
        head[1] = 0
    x = draft.call(aten.linear.default, x, draft.tensor("head.weight", head), scope="head", name="head")
    return snapshot(draft.module(x), label)


def example():
    return diff_snapshots(network(4, True, "fold-bn"), network(2, False, "prune{ratio=0.5 targets=layer1}"))


TEXT = """\
--- fold-bn                            9 nodes    36 params    144 bytes
+++ prune{ratio=0.5 targets=layer1}    8 nodes    14 params     56 bytes
@@ layer1 @@
- %a       conv2d(%x, layer1.a.weight f32[4, 3, 1, 1])       f32[1, 4, 4, 4]
+ %a       conv2d(%x, layer1.a.weight f32[2, 3, 1, 1])       f32[1, 2, 4, 4]
- %a_relu  relu(%a)                                          f32[1, 4, 4, 4]
+ %a_relu  relu(%a)                                          f32[1, 2, 4, 4]
- %b       conv2d(%a_relu, layer1.b.weight f32[4, 4, 1, 1])  f32[1, 4, 4, 4]
+ %b       conv2d(%a_relu, layer1.b.weight f32[2, 2, 1, 1])  f32[1, 2, 4, 4]
- %b_relu  relu(%b)                                          f32[1, 4, 4, 4]
+ %b_relu  relu(%b)                                          f32[1, 2, 4, 4]
@@ (top) @@
- %mean  mean(%b_relu, [2, 3])                              f32[1, 4]
+ %mean  mean(%b_relu, [2, 3])                              f32[1, 2]
- %tanh  tanh(%mean)                                        f32[1, 4]
- %head  linear(%tanh, head.weight f32[2, 4])               f32[1, 2]
+ %head  linear(%mean, head.weight f32[2, 2] sparsity 50%)  f32[1, 2]"""

STAT = """\
--- fold-bn                            9 nodes    36 params    144 bytes
+++ prune{ratio=0.5 targets=layer1}    8 nodes    14 params     56 bytes
module      nodes    params      bytes
(top)       -1 ~2    8 -> 4   32 -> 16
layer1         ~4  28 -> 10  112 -> 40
total       -1 ~6  36 -> 14  144 -> 56"""


def test_unified_diff():
    assert str(example()).splitlines() == TEXT.splitlines()


def test_summary():
    assert example().stat().splitlines() == STAT.splitlines()


def test_no_change():
    diff = diff_snapshots(network(2, True, "before"), network(2, True, "after"))
    assert str(diff).splitlines() == [
        "--- before    9 nodes    14 params    56 bytes",
        "+++ after     9 nodes    14 params    56 bytes",
        "=== no change",
    ]
    assert diff.stat().splitlines()[3].split() == ["total", "14", "56"]


def test_the_same_shape_with_other_values_says_so():
    def net(value):
        draft = Draft()
        x = draft.input("x", 1, 2)
        return snapshot(draft.module(draft.call(aten.linear.default, x, draft.tensor("w", value * torch.ones(3, 2)))))

    lines = str(diff_snapshots(net(1), net(2))).splitlines()
    assert lines[-2:] == [
        "- %linear_default  linear(%x, w f32[3, 2])               f32[1, 3]",
        "+ %linear_default  linear(%x, w f32[3, 2] other values)  f32[1, 3]",
    ]
    assert "w f32[3, 2] sparsity 100%)" in str(diff_snapshots(net(1), net(0)))


def test_names_cannot_break_a_line():
    draft = Draft()
    x = draft.input("x", 2)
    for op in (aten.relu.default, aten.tanh.default):
        x = draft.call(op, x, scope="a\n+ %evil\x1b[31m")
    plain = Draft()
    before = snapshot(plain.module(plain.input("x", 2)), "before\nafter")
    after = snapshot(draft.module(x), "\u202etxet")
    lines = str(diff_snapshots(before, after)).splitlines()
    assert [line[:4] for line in lines] == ["--- ", "+++ ", "@@ a", "+ %r", "+ %t"]
    assert lines[2] == r"@@ a\n+ %evil\x1b[31m @@"
    assert lines[1].startswith(r"+++ \u202etxet")
    assert all(line.isprintable() for line in diff_snapshots(before, after).stat().splitlines())


def test_json():
    found = json.loads(json.dumps(example().to_dict(), allow_nan=False))
    assert found["format"] == "fxcompress-diff/1"
    assert found["before"] == {"label": "fold-bn", "nodes": 9, "params": 36, "bytes": 144}
    assert (found["empty"], found["removed"], found["added"], found["changed"]) == (False, 1, 0, 6)
    assert [row["mark"] for row in found["rows"]] == ["=", *"~~~~~-~="]
    assert found["rows"][0] == {"mark": "=", "before": "x", "after": "x"}
    head = found["rows"][7]
    assert head["cells"] == ["weight"]
    assert head["after"]["parameters"][0]["nonzero"] == 2
    assert head["before"]["inputs"] == ["%tanh", "head.weight f32[2, 4]"]
    assert found["modules"][1] == {
        "path": "layer1",
        "removed": 0,
        "added": 0,
        "changed": 4,
        "params_before": 28,
        "bytes_before": 112,
        "params_after": 10,
        "bytes_after": 40,
    }
    assert example().to_dict() == example().to_dict()


def test_json_names_what_was_renamed():
    def net(path, scope):
        draft = Draft()
        weight = draft.tensor(path, torch.ones(2, 2))
        return snapshot(draft.module(draft.call(aten.linear.default, draft.input("x", 1, 2), weight, scope=scope)))

    diff = diff_snapshots(net("conv.weight", "conv"), net("stem.weight", "stem"))
    assert diff.empty
    renamed = {"parameters": {"conv.weight": "stem.weight"}, "modules": {"conv": "stem"}}
    assert diff.to_dict()["renamed"] == renamed
    assert str(diff).splitlines()[2:] == [
        "=== renamed: conv.weight -> stem.weight (1 parameter)",
        "=== renamed: conv -> stem (1 module)",
        "=== no change",
    ]
