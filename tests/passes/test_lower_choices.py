"""Which backend lower takes, and what it leaves alone and says so."""

from __future__ import annotations

import copy

import pytest
import torch
from nets import apply, operations
from quantized_nets import QuantizedDraft, near

from fxcompress.errors import PassFailed
from fxcompress.lowering import choosing

aten = torch.ops.aten
LOWER = "lower{measure=false}"


def test_a_chosen_backend_and_wrong_ones():
    draft, x = QuantizedDraft(), torch.randn(2, 16)
    module = draft.module(draft.linear(draft.by_rows(draft.input("x", x)), "fc", 8, 16))
    other = copy.deepcopy(module)
    _, context = apply("lower{backends=float}", module)
    assert [made["backend"] for made in context.details["lowered"].values()] == ["float"]
    with pytest.raises(PassFailed, match="onednn"):
        apply("lower{backends=onedn}", other)


@pytest.mark.parametrize(("fast", "slow"), [("int_mm", "float"), ("float", "int_mm"), ("pattern", "float")])
def test_the_fastest_is_taken(monkeypatch, fast, slow):
    def took(calls):
        for call in calls.values():
            call()
        return {name: {fast: 1.0, slow: 9.0}.get(name, 5.0) for name in calls}

    monkeypatch.setattr(choosing, "interleaved", took)
    choosing._measure.cache_clear()
    draft, x = QuantizedDraft(), torch.randn(2, 16)
    module = draft.module(draft.linear(draft.by_rows(draft.input("x", x)), "fc", 8, 16))
    want, before = module(x), operations(module)
    module, context = apply("lower", module)
    choosing._measure.cache_clear()
    assert near(module(x), want)
    if fast == "pattern":
        held = {"quantized_decomposed.dequantize_per_channel": "fxcompress.held_channels"}
        assert operations(module) == [held.get(one, one) for one in before]
        assert context.notes == left("the pattern is faster than every kernel for its shape")
    else:
        assert [made["backend"] for made in context.details["lowered"].values()] == [fast]


def test_the_pattern_is_slower_where_products_are_large():
    torch.manual_seed(0)
    draft, x = QuantizedDraft(), torch.randn(64, 512)
    module = draft.module(draft.linear(draft.by_rows(draft.input("x", x)), "fc", 512, 512))
    _, context = apply("lower", module)
    (made,) = context.details["lowered"].values()
    assert made["microseconds"][made["backend"]] < made["microseconds"]["pattern"]


def left(*reasons, layer="linear"):
    kept = f"%{layer}: calculated in floats, with a copy of the weights as floats in memory"
    return [*(f"%{layer}: left as it is, {reason}" for reason in reasons), kept]


def test_what_stays_is_named():
    draft, x = QuantizedDraft(), torch.randn(2, 4, 6, 6)
    given = draft.input("x", x)
    module = draft.module(draft.call(aten.conv2d.default, given, draft.weight("c", 8, 4, 3, 3), draft.bias("c", 8)))
    want = module(x)
    module, context = apply(LOWER, module)
    assert torch.equal(module(x), want)
    why = "no kernel convolves activations that are not quantized to uint8 beforehand"
    assert context.notes == left(why, layer="conv2d")
    assert context.details["left"] == {"conv2d": why}
    assert context.statistics["left"] == 1


def test_without_quantized_layers():
    draft, x = QuantizedDraft(), torch.randn(2, 16)
    weight = draft.tensor("fc.weight", torch.randn(8, 16))
    module = draft.module(draft.call(aten.linear.default, draft.input("x", x), weight))
    module, context = apply(LOWER, module)
    assert operations(module) == ["linear"]
    assert context.notes == ["no layer is quantized or sparse: there is nothing to lower"]


def test_ignored_layers_stay():
    draft, x = QuantizedDraft(), torch.randn(2, 16)
    given = draft.input("x", x)
    both = [draft.linear(given, name, 8, 16) for name in "ab"]
    module = draft.module(draft.call(aten.add.Tensor, *both))
    _, context = apply("lower{ignore=linear}", module)
    assert [made["layers"] for made in context.details["lowered"].values()] == [["linear_1"]]


def test_activations_are_not_rounded_where_that_saves_nothing(monkeypatch):
    monkeypatch.setattr(
        choosing, "interleaved", lambda calls: {name: 1.0 if name == "floats" else 5.0 for name in calls}
    )
    choosing._measure.cache_clear()
    draft, x = QuantizedDraft(), torch.randn(2, 16)
    module = draft.module(draft.linear(draft.by_rows(draft.input("x", x)), "fc", 8, 16))
    weight = module.get_buffer("fc.weight").double() * module.get_buffer("fc.weight_scale").double()[:, None]
    want = x.double() @ weight.t() + module.get_parameter("fc.bias").double()
    module, context = apply("lower", module)
    choosing._measure.cache_clear()
    assert operations(module) == ["fxcompress.held_channels", "linear"]
    assert near(module(x).double(), want, 1e-6)
    assert context.details["unrounded"] == ["linear"]
    assert any("not rounded" in note for note in context.notes)


def test_unrounded_linears_of_one_activation_become_one_product(monkeypatch):
    monkeypatch.setattr(
        choosing, "interleaved", lambda calls: {name: 1.0 if name == "floats" else 5.0 for name in calls}
    )
    choosing._measure.cache_clear()
    draft, x = QuantizedDraft(), torch.randn(2, 3, 16)
    rows = draft.by_rows(draft.input("x", x))
    module = draft.module(*[draft.call(aten.relu.default, draft.linear(rows, name, 8, 16)) for name in ("a", "b")])
    want = [one.double() for one in unrounded(module, x)]
    module, context = apply("lower", module)
    choosing._measure.cache_clear()
    assert operations(module) == [
        "fxcompress.linear_weight_only",
        "split_with_sizes",
        "getitem",
        "getitem",
        "relu",
        "relu",
    ]
    for got, exact in zip(module(x), want, strict=True):
        assert near(got.double(), exact, 1e-6)
    assert context.details["unrounded"] == ["linear", "linear_1"]


@pytest.mark.parametrize("options", ["targets=linear", "ignore=linear_1", "ignore=dropout"])
def test_layers_are_meant_by_the_names_that_they_have_before(options):
    draft, x = QuantizedDraft(), torch.randn(2, 16)
    first = draft.linear(draft.by_rows(draft.input("x", x)), "a", 16, 16)
    dropped = draft.call(aten.dropout.default, first, 0.5, False)
    module = draft.module(draft.linear(draft.by_rows(dropped), "b", 8, 16))
    _, context = apply(f"lower{{measure=false {options}}}", module)
    layers = [name for made in context.details["lowered"].values() for name in made["layers"]]
    assert layers == (["linear", "linear_1"] if options == "ignore=dropout" else ["linear"])


def unrounded(module, x):
    for name in ("a", "b"):
        weight = module.get_buffer(f"{name}.weight").double() * module.get_buffer(f"{name}.weight_scale")[:, None]
        yield (x.double() @ weight.t() + module.get_parameter(f"{name}.bias").double()).relu()


@pytest.mark.parametrize(("rows", "kept"), [(100, True), (20_000, False)])
def test_small_tables_are_kept_in_floats(rows, kept):
    draft, x = QuantizedDraft(), torch.tensor([[3, 7, 3]])
    module = draft.module(draft.call(aten.embedding.default, draft.weight("table", rows, 8), draft.input("x", x)))
    want = module(x)
    module, context = apply("lower", module)
    names = ["fxcompress.held_channels", "embedding"] if kept else ["fxcompress.embedding_rows"]
    assert operations(module) == names
    assert torch.equal(module(x), want)
    assert context.details["held"] == (["embedding"] if kept else [])
