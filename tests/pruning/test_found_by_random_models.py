"""Small networks that random ones were shrunk to when they failed."""

from __future__ import annotations

import warnings

import torch
from torch import nn

import fxcompress as fxc
from fxcompress.analysis.axes.analyse import analyse
from fxcompress.analysis.axes.groups import Kept, groups_of
from fxcompress.pruning.removing.rewrite import remove


class MeanThenHalves(nn.Module):
    """The mean over places that are removed is scaled; a call that splits the scaled value comes behind."""

    def __init__(self):
        super().__init__()
        self.places, self.features = nn.Parameter(torch.randn(6, 3)), nn.Linear(3, 8)
        self.last = nn.Linear(4, 4)

    def forward(self, given):
        one, other = self.features(self.places).mean(0, keepdim=True).chunk(2, -1)
        return given + self.last(one * other)


def test_what_reads_a_scaled_mean_is_rewritten_too():
    model, given = MeanThenHalves().double(), torch.randn(2, 4, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        captured = fxc.capture(model, (given,))
    axes = analyse(captured.module)
    masks = {}
    for group in (group for group in groups_of(axes) if group.free):
        mask = torch.ones(group.size, dtype=torch.bool).numpy()
        mask[0] = False
        masks |= group.in_leaves(mask)
    remove(captured.module, axes, Kept(masks))
    captured.module.recompile()
    assert captured.module(given).shape == (2, 4)
