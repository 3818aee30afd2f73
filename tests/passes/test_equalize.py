"""equalize: in float64 the model computes what it did, ranges are equal, and one scale a tensor loses less."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from scaled_nets import SHAPES, Images, scaled
from torch.utils import _pytree as pytree

import fxcompress as fxc


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("text", ["equalize", "fold-bn,equalize"])
def test_results_stay_as_they_are(kind, text):
    model, batches = scaled(kind)
    result = fxc.compress(model, None, text)
    for x in batches:
        got, want = pytree.tree_leaves(result.module(x)), pytree.tree_leaves(model(x))
        for one, other in zip(got, want, strict=True):
            assert torch.allclose(one, other, rtol=1e-10, atol=1e-10 * float(other.detach().abs().max()))


def test_ranges_are_equal_on_both_sides():
    model, _ = scaled(Images)
    stage = (result := fxc.compress(model, None, "fold-bn,equalize")).stages[-1]
    assert stage.details["equalized"] == {
        "conv2d": ["second.weight"],
        "conv2d_1": ["third.weight"],
        "conv2d_2": ["fourth.weight"],
        "conv2d_3": ["fifth.weight"],
        "conv2d_4": ["head.weight"],
    }
    state = {name: tensor.detach() for name, tensor in result.module.state_dict().items()}
    rows = {name: tensor.flatten(1).abs().amax(1) for name, tensor in state.items() if name.endswith("weight")}
    # A convolution by groups has the channels of its input in as many blocks of its second axis.
    columns = {
        "second.weight": state["second.weight"].view(2, 4, 4, -1).abs().amax((1, 3)).flatten(),
        "third.weight": rows["third.weight"],
        **{name: state[name].flatten(2).abs().amax((0, 2)) for name in ("fourth.weight", "fifth.weight")},
        "head.weight": state["head.weight"].abs().amax(0),
    }
    names = ["first.weight", *columns]
    for before, behind in itertools.pairwise(names):
        assert torch.allclose(rows[before], columns[behind], rtol=2e-3), behind


def test_one_scale_a_tensor_loses_less():
    model, batches = scaled(Images)
    model = fxc.Captured(copy.deepcopy(model.module), model.inputs)
    with torch.no_grad():
        for layer, factor in ((model.module.first, 30), (model.module.fourth, 50)):
            layer.weight[::2] *= factor
    quantize = "quantize{scheme=w8a16 granularity=tensor}"
    errors = [
        float((fxc.compress(model, None, text).module(batches[1]) - model(batches[1])).detach().norm())
        for text in (f"fold-bn,equalize,{quantize}", f"fold-bn,{quantize}")
    ]
    assert errors[0] < 0.7 * errors[1]
