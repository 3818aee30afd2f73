"""What is kept of a value, against float64 and by hand, at once and in a graph."""

import math

import pytest
import torch
from taught_nets import pictures

import fxcompress as fxc
from fxcompress.errors import PassFailed
from fxcompress.teaching import Transform, find_taps, tapped
from fxcompress.teaching.transforms import Project, with_tail
from fxcompress.teaching.writing import Now


def parts(text, value):
    return Transform.parse(text.split("|")).apply(Now(), value)


def test_pool_is_the_mean_over_places():
    picture, tokens = torch.randn(2, 3, 4, 5), torch.randn(2, 7, 3)
    torch.testing.assert_close(parts("pool", picture)[""], picture.double().mean((2, 3)).float())
    torch.testing.assert_close(parts("pool", tokens)[""], tokens.double().mean(1).float())
    torch.testing.assert_close(parts("pool:1", picture)[""], picture.double().mean(1).float())
    assert torch.equal(parts("pool", torch.ones(2, 3))[""], torch.ones(2, 3))


def test_a_projection_is_fixed_and_about_keeps_distances():
    values = torch.randn(50, 400)
    small = parts("project:200", values)[""]
    assert torch.equal(small, parts("project:200:0", values)[""])
    assert not torch.equal(small, parts("project:200:1", values)[""])
    torch.testing.assert_close(torch.pdist(small), torch.pdist(values), rtol=0.25, atol=0)
    picture = torch.randn(2, 6, 3, 4)
    want = torch.einsum("bchw,ck->bkhw", picture.double(), Project(5, 2).matrix(6).double())
    torch.testing.assert_close(parts("project:5:2", picture)[""], want.float())


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_largest_logits_and_the_tail_give_the_distribution_of_the_teacher(temperature):
    logits = torch.randn(6, 20, dtype=torch.float64) * 3
    kept = parts(f"topk:4:{temperature}", logits)
    places, short = with_tail(kept, "", temperature)
    whole = (logits / temperature).softmax(-1)
    found = short.softmax(-1)
    torch.testing.assert_close(found[:, :4], whole.gather(-1, places))
    rest = torch.ones_like(whole).scatter(-1, places, 0).bool()
    torch.testing.assert_close(found[:, 4], (whole * rest).sum(-1))
    assert sorted(logits[0].tolist(), reverse=True)[:4] == kept[".values"][0].tolist()


def test_all_logits_leave_a_tail_of_nothing():
    kept = parts("topk:9", torch.randn(2, 3))
    assert kept[".values"].shape == (2, 3)
    assert kept[".tail"].tolist() == [-math.inf, -math.inf]


def test_casts_leave_places_alone():
    kept = parts("topk:2|cast:bf16", torch.randn(2, 5))
    assert [kept[part].dtype for part in (".values", ".indices", ".tail")] == [
        torch.bfloat16,
        torch.int64,
        torch.bfloat16,
    ]


@pytest.mark.parametrize("text", ["pool", "project:3:5", "pool|project:2|cast:f16", "topk:2:3", "cast:f32", "pool:3"])
def test_in_a_graph_they_are_the_same(text):
    model, inputs = pictures()
    module = fxc.capture(model, inputs).module
    (plain,), (kept,) = find_taps(module, ["layers.0"]), find_taps(module, [f"layers.0|{text}"])
    image = torch.randn(7, 3, 6, 6)
    value = tapped(module, [plain])(image)[1]["layers.0"]
    given = tapped(module, [kept])(image)[1]
    want = parts(text, value)
    assert list(given) == [f"layers.0|{Transform.parse(text.split('|'))}{part}" for part in want]
    assert all(torch.equal(one, other) for one, other in zip(given.values(), want.values(), strict=True))


@pytest.mark.parametrize("text", ["topk:0", "topk:2:0", "project", "project:-1", "cast:i8", "pool:x", "halve"])
def test_what_does_not_read(text):
    with pytest.raises(PassFailed, match="hint"):
        Transform.parse([text])
