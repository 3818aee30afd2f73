"""What stands before an atom wherever it stands, against graphs read by eye, and places against counting them."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.analysis.axes.analyse import analyse
from fxcompress.analysis.axes.apart import coordinates, outers, positions_apart
from fxcompress.analysis.axes.groups import Kept, groups_of
from fxcompress.analysis.axes.terms import leaf, product, total


def found(model, *inputs):
    """The groups that have something before them, with the sizes of that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = analyse(fxc.capture(model.eval(), inputs).module)
    before = outers(axes)
    groups = {id(group.leaf): group for group in groups_of(axes) if group.free}
    return {groups[key].name: [one.size for one in row] for key, row in before.items() if key in groups}


def convolutions(*groups):
    layers = [nn.Conv2d(3, 16, 1)]
    for count in groups:
        layers += [nn.Conv2d(16, 16, 1, groups=count), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(16, 2, 1))


def test_the_groups_of_convolutions_stand_before_their_channels():
    image = torch.randn(2, 3, 4, 4)
    assert found(convolutions(4), image) == {"0.weight:0.1": [4], "1.weight:0.1": [4]}
    chain = found(convolutions(2, 4), image)
    # Two groups of eight read what four groups of four write: 2 x 2 x 4.
    assert chain == {"0.weight:0.1": [2], "1.weight:0.1": [2], "1.weight:0.2": [2, 2], "3.weight:0.2": [2, 2]}


class Weighed(nn.Module):
    """Reads the weight of a grouped convolution also otherwise."""

    def __init__(self):
        super().__init__()
        self.stem, self.grouped, self.head = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1, groups=2), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        return self.head(self.grouped(self.stem(x))) * self.grouped.weight.square().sum()


def test_a_weight_that_is_read_otherwise_keeps_its_channels_together():
    assert found(Weighed(), torch.randn(2, 3, 4, 4)) == {"grouped.weight:0.1": [2]}


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.value, self.out = nn.Linear(6, 8), nn.Linear(8, 6)

    def forward(self, x):
        v = self.value(x).unflatten(-1, (2, 4)).transpose(1, 2)
        return self.out(nn.functional.scaled_dot_product_attention(v, v, v).transpose(1, 2).flatten(2))


def test_the_channels_of_heads_stand_in_an_axis_of_their_own():
    assert found(Heads(), torch.randn(2, 5, 6)) == {}


TERMS = {
    "product": lambda a, b, c: product(a, b, c),
    "with something between": lambda a, b, c: product(a, leaf(3), b, leaf(2), c),
    "in a sum": lambda a, b, c: total(product(a, b, c), leaf(5), product(a, b, c)),
    "a sum within": lambda a, b, c: product(a, b, total(leaf(2), product(c, leaf(2)), leaf(1))),
}


@pytest.mark.parametrize("shape", TERMS)
def test_places_are_counted(shape):
    a, b, c = leaf(2), leaf(3), leaf(4)
    term = TERMS[shape](a, b, c)
    names = labels(term)
    for part in (a, b, c):
        assert coordinates(term, part).tolist() == [row.get(id(part), -1) for row in names]
    positions = positions_apart(term, c, (a, b))
    want = {key: [] for key in itertools.product(range(2), range(3), range(4))}
    for position, row in enumerate(names):
        if id(c) in row:
            want[row[id(a)], row[id(b)], row[id(c)]].append(position)
    assert positions.tolist() == list(want.values())
    mask = np.random.default_rng(0).random((6, 4)) < 0.5
    mask[:, 0], mask[:, 1], mask[:, 2:] = True, False, [True, False]
    mask = np.random.default_rng(0).permuted(mask, axis=1)
    kept = Kept({id(c): mask}, {id(c): (a, b)})
    stays = [id(c) not in row or mask[row[id(a)] * 3 + row[id(b)], row[id(c)]] for row in names]
    assert kept.positions(term).tolist() == stays
    assert kept.size(term) == sum(stays)


def labels(term):
    """For every position of a term the slot of each leaf that it has, by the leaf's id."""
    if term.kind == "leaf":
        return [{id(term): slot} for slot in range(term.size)]
    rows = [labels(part) for part in term.parts]
    if term.kind == "sum":
        return [one for row in rows for one in row]
    return [{key: slot for one in pick for key, slot in one.items()} for pick in itertools.product(*rows)]
