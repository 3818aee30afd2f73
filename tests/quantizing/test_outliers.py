"""Activations that one range suits badly: found by what rounding does to them, and rounded token by token on demand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import fxcompress as fxc
from fxcompress.calibration import MinMax
from fxcompress.quantizing.spread import Spread


class Perceptron(nn.Module):
    """What `narrow` reads is a hundred times larger in a few tokens than in all others."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow, self.beside = nn.Linear(8, 32), nn.Linear(32, 8), nn.Linear(32, 8)

    def forward(self, x):
        hidden = torch.nn.functional.gelu(self.wide(x)) * (1 + 99 * (x[..., :1] > 2))
        return self.narrow(hidden), self.beside(hidden)


class Convolved(nn.Module):
    """Rows of an image that differ as much, in front of a convolution."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 4, 1)

    def forward(self, image):
        return self.layer(image * torch.tensor([1.0, 100.0]).repeat(4)[:, None])


def tokens(seed, count=64):
    return torch.randn(4, count, 8, generator=torch.Generator().manual_seed(seed))


def db(signal, noise):
    return float(20 * torch.log10(signal.norm() / noise.norm()))


def as_rounded(values, least, most):
    """Values rounded to 255 steps between the two, zero among them."""
    least, most = least.clamp(max=0), most.clamp(min=0)
    step = (most - least) / 255
    zero = (-least / step).round()
    return (((values / step).round() + zero).clamp(0, 255) - zero) * step


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 3), st.integers(1, 3))
def test_ratios_are_those_of_values_that_are_rounded(seed, spread, parts):
    torch.manual_seed(seed)
    values = torch.randn(600, 96, dtype=torch.float64) * torch.exp(spread * torch.randn(600, 1))
    pieces = [Spread(MinMax(), tokens=True) for _ in range(parts)]
    for piece, rows in zip(pieces, values.float().chunk(parts), strict=True):
        for batch in rows.view(len(rows), 2, 48).reshape(-1, 48).split(50):
            piece.update(batch)
    for other in pieces[1:]:
        pieces[0].merge(other)
    (seen, *_), rows = pieces, values.view(-1, 48)
    scale = float(seen.observer.parameters(0, 255, symmetric=False)[0])
    static = as_rounded(rows, rows.min(), rows.max()) - rows
    token = as_rounded(rows, rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)) - rows
    # Where tokens differ much, what a few of them lose is nearly all, and that is up to chance.
    assert seen.token_db() == pytest.approx(db(rows, token), abs=0.4 if spread < 1 else 1.5)
    # Values that are small beside a step are not spread over it: they lose what they are, which is less than a step is.
    assert seen.static_db(scale) <= db(rows, static) + 0.4
    if spread < 1:
        assert seen.static_db(scale) == pytest.approx(db(rows, static), abs=0.4)


def test_values_of_zero_lose_nothing():
    seen = Spread(MinMax(), tokens=True)
    seen.update(torch.zeros(3, 4))
    seen.update(torch.tensor(0.0))
    assert (seen.static_db(1.0), seen.token_db(), seen.count) == (float("inf"), float("inf"), 13)


def quantized(model, options="", data=None):
    batches = [tokens(seed) for seed in range(4)] if data is None else data
    text = f"quantize{{scheme=w8a8-static {options}}}"
    return fxc.compress(model, (batches[0],), text, calibration=batches)


def test_outliers_are_named_and_rounded_token_by_token_where_that_is_asked_for():
    model, unseen = Perceptron().eval(), tokens(9)
    plain, by_token = quantized(model), quantized(model, "outliers=token")
    (stage,), (other,) = plain.stages, by_token.stages
    (name,) = stage.details["outliers"]
    assert stage.details["outliers"] == other.details["outliers"]
    assert sorted(stage.details["activations"][name]) == ["readers", "scale", "zero"]
    assert other.details["activations"][name] == {"readers": stage.details["activations"][name]["readers"]}
    assert list(other.details["activations"]) == list(stage.details["activations"])
    (note,) = [note for note in stage.notes if note.startswith("one range suits 1 activation badly")]
    (told,) = [note for note in other.notes if "since one range suits badly" in note]
    assert "outliers=token" in note
    assert all(f"%{name}" in text for text in (note, told))
    assert all(reader in note and reader in told for reader in stage.details["activations"][name]["readers"])
    with torch.no_grad():
        want = torch.cat(model(unseen), -1)
        # As all tokens count the same to whoever reads them, so do they here.
        length = want.norm(dim=-1, keepdim=True)
        noises = [(torch.cat(one.module(unseen), -1) - want) / length for one in (plain, by_token)]
    assert noises[0].norm() > 5 * noises[1].norm()


def test_what_the_decibels_are():
    model = Perceptron().eval()
    batches = [tokens(seed) for seed in range(4)]
    details = quantized(model, "observer=minmax").stages[0].details
    (pair,) = details["outliers"].values()
    with torch.no_grad():
        values = torch.cat([torch.nn.functional.gelu(model.wide(x)) * (1 + 99 * (x[..., :1] > 2)) for x in batches])
    by_token = as_rounded(values, values.amin(-1, keepdim=True), values.amax(-1, keepdim=True)) - values
    assert pair[1] == pytest.approx(db(values, by_token), abs=0.5)
    assert pair[0] <= db(values, as_rounded(values, values.min(), values.max()) - values) + 0.5


def test_layers_that_read_tokens_already_and_others_share_one_rounding():
    model = Perceptron().eval()
    (stage,) = quantized(model, "outliers=token schemes=beside:w8a8").stages
    kinds = {name: sorted(facts) for name, facts in stage.details["activations"].items()}
    (name,) = stage.details["outliers"]
    assert kinds[name] == ["readers"]
    assert len(stage.details["activations"][name]["readers"]) == 2
    calls = [str(node.target) for node in quantized(model, "outliers=token schemes=beside:w8a8").module.graph.nodes]
    assert sum("choose_token_range" in call for call in calls) == 1


def test_convolutions_have_one_range_and_no_note():
    images = [torch.randn(2, 1, 8, 8) for _ in range(2)]
    (stage,) = quantized(Convolved().eval(), "outliers=token", images).stages
    assert "outliers" not in stage.details
    assert not any("badly" in note for note in stage.notes)
    assert all("scale" in facts for facts in stage.details["activations"].values())


def test_what_comes_out_is_lowered():
    model, unseen = Perceptron().eval(), tokens(9)
    batches = [tokens(seed) for seed in range(4)]
    results = [
        fxc.compress(model, (batches[0],), f"quantize{{scheme=w8a8-static outliers=token}}{rest}", calibration=batches)
        for rest in ("", ",lower")
    ]
    with torch.no_grad():
        want, got = (torch.cat(one.module(unseen), -1) for one in results)
    assert db(want, got - want) > 30
