"""smooth: in float64 the model computes what it did, and channels have the ranges that numpy says."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from nets import operations
from scaled_nets import SHAPES, PreNorm, scaled
from torch.utils import _pytree as pytree

import fxcompress as fxc
from fxcompress.graph.nodes import calls
from fxcompress.quantizing.scaling.choosing import chosen_sites
from fxcompress.quantizing.scaling.folding import fold

aten = torch.ops.aten
FOLDED = {
    "PreNorm": {"layer_norm": ["qkv.weight"], "rms_norm": ["gate.weight", "up.weight"], "linear_3": ["down.weight"]},
    "PostNorm": {},
    "Handmade": {"mul_1": ["first.weight", "second.weight"]},
    "Images": {
        "batch_norm": ["second.weight"],
        "conv2d_1": ["third.weight"],
        "conv2d_2": ["fourth.weight"],
        "conv2d_3": ["fifth.weight"],
        "conv2d_4": ["head.weight"],
    },
    "Shared": {},
}


def same(module, model, x) -> bool:
    got, want = pytree.tree_leaves(module(x)), pytree.tree_leaves(model(x))
    return all(
        torch.allclose(one, other, rtol=1e-11, atol=1e-11 * float(other.detach().abs().max()))
        for one, other in zip(got, want, strict=True)
    )


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("options", ["alpha=0.5", "alpha=0.9", "method=awq scheme=w3a16", "insert=true"])
def test_results_stay_as_they_are(kind, options):
    model, batches = scaled(kind)
    result = fxc.compress(model, None, f"smooth{{{options}}}", calibration=batches)
    details = result.stages[0].details
    assert details["folded"] == FOLDED[kind.__name__]
    assert all(same(result.module, model, x * factor) for x in batches for factor in (1, -2))
    assert result.stages[0].changed == bool(details["folded"] or details["inserted"])
    if options == "insert=true":
        reached = {path for row in (*details["folded"].values(), *details["inserted"].values()) for path in row}
        shared = {"twice.weight"}
        assert reached == {name for name, _ in model.module.named_parameters() if is_layer(model.module, name)} - shared
        assert operations(result.module).count("mul") >= len(details["inserted"])


def is_layer(module, name) -> bool:
    return name.endswith(".weight") and module.get_parameter(name).dim() > 1


@pytest.mark.parametrize("kind", SHAPES)
def test_any_scales_fold(kind):
    model, batches = scaled(kind)
    module = copy.deepcopy(model.module)
    generator = torch.Generator().manual_seed(8)
    for insert in (False, True):
        for site in chosen_sites(module, list(module.graph.nodes), insert=insert).sites:
            scales = torch.exp(torch.randn(site.size, generator=generator, dtype=torch.float64))
            fold(module, site, scales)
        module.recompile()
        assert same(module, model, batches[1])


def inputs_of(module, x) -> dict[str, torch.Tensor]:
    """What each linear of a graph is given."""
    found, seen = {}, torch.fx.Interpreter(module)
    nodes = {argument.args[0]: argument for argument in calls(module.graph, aten.linear)}
    run = seen.run_node

    def look(node):
        value = run(node)
        if node in nodes:
            found[nodes[node].name] = value.detach()
        return value

    seen.run_node = look
    with torch.no_grad():
        seen.run(x)
    return found


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.8])
def test_scales_are_those_of_the_paper(alpha):
    model, batches = scaled(PreNorm)
    result = fxc.compress(model, None, f"smooth{{alpha={alpha}}}", calibration=batches)
    first, last = (
        [inputs_of(module, x)["linear"].flatten(0, 1).abs().amax(0).numpy() for x in batches]
        for module in (model.module, result.module)
    )
    values, weights = np.max(first, 0), np.abs(model.module.qkv.weight.detach().numpy()).max(0)
    scales = values**alpha / weights ** (1 - alpha)
    assert np.allclose(np.max(last, 0), values / scales, rtol=1e-9)
    assert np.allclose(np.abs(result.module.qkv.weight.detach().numpy()).max(0), weights * scales, rtol=1e-9)


def test_awq_has_less_error_than_no_scales():
    model, batches = scaled(PreNorm)
    x = torch.cat(batches)
    errors = [
        float((fxc.compress(model, None, text, calibration=batches).module(x) - model(x)).detach().norm())
        for text in ("smooth{method=awq scheme=w3a16},quantize{scheme=w3a16}", "quantize{scheme=w3a16}")
    ]
    assert errors[0] < errors[1]


def test_what_does_not_fold_is_named():
    model, batches = scaled(list(SHAPES)[1])
    notes = fxc.compress(model, None, "smooth", calibration=batches).stages[0].notes
    assert notes == (
        "wide.weight: no scales fold, %add reads it too",
        "narrow.weight: no scales fold, what gives its input takes none off",
    )


def test_ignored_layers_stay():
    model, batches = scaled(PreNorm)
    result = fxc.compress(model, None, "smooth{ignore=up}", calibration=batches)
    assert set(result.stages[0].details["folded"]) == {"layer_norm", "linear_3"}
    assert "gate.weight: no scales fold, a layer that reads the same is not to be changed" in result.stages[0].notes
