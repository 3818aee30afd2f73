"""Grouped convolutions whose groups lose channels of their own, against masks, brute force and slices by hand."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from grouped_nets import GROUPED, Chain, Residual, ResNeXt, ShuffleUnit, Sigmoids, WithBias, image
from pruned_nets import Grouped, masked, randomised
from torch import nn

import fxcompress as fxc
from fxcompress.analysis.cost import cost
from fxcompress.errors import UsageError
from fxcompress.pruning.removing.plan import followed_by

TIGHT = 1e-10
LAST = "factor=-1 round_to=1"


def make(cls):
    torch.manual_seed(0)
    return randomised(cls()).double().eval()


def prune(net, text, **data):
    return fxc.compress(net, (image(),), text, **data)


def error(got, want):
    return float((got - want).detach().norm() / want.detach().norm())


def apart(plan):
    """The weights of which every group keeps channels of its own."""
    return {name for name, dims in plan.items() if any(isinstance(places, tuple) for places in dims.values())}


def by_hand(tensor, dims):
    """What a plan leaves of a tensor, row by row."""
    array = tensor.detach().numpy()
    for dim, places in dims.items():
        if isinstance(places, list):
            array = np.take(array, places, dim)
    for dim, places in dims.items():
        if isinstance(places, tuple):
            run = len(array) // len(places)
            array = np.stack([np.take(row, places[i // run], dim - 1) for i, row in enumerate(array)])
    return torch.from_numpy(array)


@pytest.mark.parametrize("options", ["", " importance=random", " scope=global", " scope=isomorphic ratio=0.3"])
@pytest.mark.parametrize("cls", GROUPED, ids=lambda cls: cls.__name__)
def test_what_is_removed_exactly_is_what_zeros_would_do(cls, options):
    net = make(cls)
    result = prune(net, f"prune{{exact=true {LAST}{options}}}")
    details = result.stages[0].details
    assert error(result.module(image()), masked(net, details["removed"])(image())) < TIGHT
    assert details["proof"] < TIGHT
    assert error(result.module(image(7)), masked(net, details["removed"])(image(7))) < TIGHT
    assert error(result.module(image()), net(image())) > 1e-3


@pytest.mark.parametrize("cls", GROUPED, ids=lambda cls: cls.__name__)
def test_the_tensors_that_are_left_are_those_of_the_plan(cls):
    net = make(cls)
    result = prune(net, f"prune{{importance=random {LAST}}}")
    held = net.state_dict()
    for name, tensor in result.module.state_dict().items():
        assert torch.equal(tensor, by_hand(held[name], result.plan.get(name, {}))), name


def test_where_groups_lose_channels_of_their_own():
    plans = {cls: prune(make(cls), f"prune{{importance=random {LAST}}}").plan for cls in GROUPED}
    found = {cls: apart(plan) for cls, plan in plans.items()}
    assert found == {
        ResNeXt: {"blocks.0.grouped.weight", "blocks.1.grouped.weight"},
        WithBias: {"blocks.0.grouped.weight"},
        Chain: {"first.weight", "second.weight", "third.weight"},
        Residual: {"grouped.weight", "last.weight"},
        Sigmoids: set(),  # zeros in what computes them would not say which channels are gone
        ShuffleUnit: {"first.weight"},  # of the shuffled channels, each group loses the same
    }
    # What a grouped convolution gives stands in whole axes only.
    kept = np.array(plans[Sigmoids]["grouped.weight"][0]).reshape(4, -1) % 8
    assert (kept != kept[0]).any()


def scores(block):
    """For every channel that the grouped convolution of a block reads, [groups, channels]: all weights, squared."""
    groups = block.grouped.groups
    rows = block.narrow.weight.square().sum((1, 2, 3)) + block.norms[0].weight.square()
    weight = block.grouped.weight
    columns = weight.reshape(groups, -1, *weight.shape[1:]).square().sum((1, 3, 4))
    return (rows.view(groups, -1) + columns).detach()


def test_every_group_keeps_its_most_important_channels():
    net = make(ResNeXt)
    plan = prune(net, f"prune{{ratio=0.5 {LAST}}}").plan
    for place, block in enumerate(net.blocks):
        want = scores(block).topk(4, 1).indices.sort(1).values
        assert plan[f"blocks.{place}.grouped.weight"][1] == tuple(map(list, want.tolist()))
        flat = (want + 8 * torch.arange(4)[:, None]).reshape(-1)
        for name in ("narrow.weight", "norms.0.weight", "norms.0.running_var"):
            assert plan[f"blocks.{place}.{name}"][0] == flat.tolist()


def test_more_of_the_importance_stays_than_with_the_same_channels_in_all_groups():
    net = make(ResNeXt)
    plan = prune(net, f"prune{{ratio=0.5 {LAST}}}").plan
    for place, block in enumerate(net.blocks):
        every = scores(block)
        kept = sum(
            float(row[one].sum()) for row, one in zip(every, plan[f"blocks.{place}.grouped.weight"][1], strict=True)
        )
        alike = float(every.sum(0).topk(4).values.sum())
        assert kept > 1.05 * alike


def test_criteria_of_data_rank_the_channels_of_each_group():
    net = make(WithBias)
    batches, block = [(image(16),)], net.blocks[0]
    given = torch.relu(block.norms[0](block.narrow(torch.relu(net.stem(image(16)))))).detach()
    energy = given.square().mean((0, 2, 3)).sqrt().view(2, 16)
    columns = block.grouped.weight.detach().abs().reshape(2, 16, 16, 9).sum((1, 3))
    want = {"activation": given.abs().mean((0, 2, 3)).view(2, 16), "wanda": columns * energy}
    for name, numbers in want.items():
        plan = prune(net, f"prune{{importance={name} targets=blocks.0.narrow {LAST}}}", calibration=batches).plan
        best = numbers.topk(8, 1).indices.sort(1).values.tolist()
        assert plan["blocks.0.grouped.weight"][1] == tuple(map(list, best)), name


def test_taylor_ranks_by_the_derivatives_of_each_channel():
    net = make(WithBias)
    train = fxc.TrainingData([((image(16),), torch.arange(16) % 10)], nn.CrossEntropyLoss())
    plan = prune(net, f"prune{{importance=taylor targets=blocks.0.narrow {LAST}}}", train=train).plan
    loss = nn.functional.cross_entropy(net(image(16)), torch.arange(16) % 10)
    norm = net.blocks[0].norms[0]
    change = sum(
        g * w
        for g, w in zip(torch.autograd.grad(loss, (norm.weight, norm.bias)), (norm.weight, norm.bias), strict=True)
    )
    best = change.detach().abs().view(2, 16).topk(8, 1).indices.sort(1).values.tolist()
    assert plan["blocks.0.grouped.weight"][1] == tuple(map(list, best))


def test_a_threshold_leaves_as_many_as_the_group_with_most_above_it():
    net = make(WithBias)
    with torch.no_grad():
        net.blocks[0].norms[0].bias.fill_(3)
        for gone in (range(10), range(22, 28)):
            net.blocks[0].norms[0].weight[list(gone)] = 0
            net.blocks[0].norms[0].bias[list(gone)] = 0
    result = prune(net, f"prune{{threshold=1e-9 targets=blocks.0.narrow {LAST}}}", calibration=[(image(16),)])
    kept = result.plan["blocks.0.grouped.weight"][1]
    assert {len(row) for row in kept} == {10}
    assert set(range(10, 16)) < set(kept[0])
    assert kept[1] == [*range(6), *range(12, 16)]
    assert error(result.module(image()), net(image())) < TIGHT


@pytest.mark.parametrize("budget", ["macs", "params"])
def test_a_budget_is_met(budget):
    result = prune(make(ResNeXt), f"prune{{{budget}=0.5 scope=global {LAST}}}")
    given = result.captured.inputs
    after, before = (getattr(cost(one, inputs=given), budget) for one in (result.module, result.captured.module))
    assert 0.35 * before < after <= 0.5 * before
    assert apart(result.plan)


OWN = {0: [0, 1, 3, 4, 6, 7, 9, 10], 1: ([0, 2, 3], [1, 2, 3], [0, 1, 2], [0, 1, 3])}
AFTER = {
    "the same columns": {1: [0, 2]},
    "whole groups": {0: [2, 3, 6, 7]},
    "rows of every group": {0: [0, 2, 5, 7]},
    "columns of their own": {0: list(range(8)), 1: ([0, 1], [0, 2], [1, 2], [0, 1])},
    "groups, and columns of those that stay": {0: [0, 1, 4, 5], 1: [1, 2]},
    "columns that are the same in the end": {0: list(range(8)), 1: ([0, 2], [2, 1], [0, 2], [0, 2])},
}


@pytest.mark.parametrize("after", AFTER)
def test_two_plans_are_one(after):
    weight = torch.randn(12, 4, 3)
    once = by_hand(weight, OWN)
    whole = followed_by({"w": OWN}, {"w": AFTER[after]})["w"]
    assert torch.equal(by_hand(weight, whole), by_hand(once, AFTER[after]))
    # And where the first says the same for all groups.
    first = {0: [0, 1, 3, 4, 6, 7, 9, 10], 1: [0, 2, 3]}
    whole = followed_by({"w": first}, {"w": AFTER[after]})["w"]
    assert torch.equal(by_hand(weight, whole), by_hand(by_hand(weight, first), AFTER[after]))


THREE = (
    f"prune{{ratio=0.25 exact=true importance=random {LAST}}},prune{{ratio=0.5 exact=true round_to=1}},"
    f"prune{{ratio=0.4 exact=true importance=random {LAST}}}"
)


@pytest.mark.parametrize("cls", GROUPED, ids=lambda cls: cls.__name__)
def test_steps_of_channels_and_whole_groups_are_one_plan(cls, tmp_path):
    net = make(cls)
    result = prune(net, THREE)
    assert all(stage.details["proof"] < TIGHT for stage in result.stages)
    held = net.state_dict()
    for name, tensor in result.module.state_dict().items():
        assert torch.equal(tensor, by_hand(held[name], result.plan.get(name, {}))), name
    result.save(tmp_path / "net.fxc")
    loaded = fxc.load(tmp_path / "net.fxc")
    assert loaded.plan == result.plan
    assert torch.equal(loaded.module(image()), result.module(image()))
    pruned = fxc.apply_plan(fxc.capture(net, (image(),)), loaded.plan)
    assert error(pruned.module(image()), result.module(image())) < TIGHT


@pytest.mark.parametrize("cls", GROUPED, ids=lambda cls: cls.__name__)
def test_a_plan_prunes_another_checkpoint_and_the_users_own_module(cls):
    net = make(cls)
    result = prune(net, f"prune{{ratio=0.5 exact=true {LAST}}}")
    torch.manual_seed(1)
    other = randomised(cls()).double().eval()
    pruned = fxc.apply_plan(fxc.capture(other, (image(),)), result.plan)
    removed = result.stages[0].details["removed"]
    assert error(pruned.module(image()), masked(other, removed)(image())) < TIGHT
    if cls is not ShuffleUnit:  # whose forward has the sizes of its views as numbers
        written = copy.deepcopy(net)
        fxc.write_back(written, result)
        assert error(written(image()), masked(net, removed)(image())) < TIGHT


def test_part_of_a_plan_serves_and_a_wrong_one_does_not():
    net = make(ResNeXt)
    plan = prune(net, f"prune{{ratio=0.5 {LAST} targets=blocks.0.narrow}}").plan
    captured = fxc.capture(net, (image(),))
    for name in ("blocks.0.narrow.weight", "blocks.0.grouped.weight"):
        made = fxc.apply_plan(captured, {name: plan[name]}).module.state_dict()
        assert all(
            torch.equal(tensor, by_hand(net.state_dict()[path], plan.get(path, {}))) for path, tensor in made.items()
        )
    with pytest.raises(UsageError, match="more channels of some groups"):
        fxc.apply_plan(captured, {"blocks.0.narrow.weight": {0: [0, 1, 8, 16, 24]}})
    rows, columns = plan["blocks.0.grouped.weight"].values()
    with pytest.raises(UsageError, match="does not fit"):
        fxc.apply_plan(captured, {"blocks.0.grouped.weight": {0: rows, 1: (*columns[:3], [8])}})
    with pytest.raises(UsageError, match="cannot stay without others"):
        fxc.apply_plan(captured, {"blocks.0.grouped.weight": {0: rows, 1: columns[:2]}})


def test_the_result_trains_exports_compiles_and_is_fitted():
    net = make(ResNeXt)
    result = prune(net, f"prune{{ratio=0.5 {LAST}}}")
    again = fxc.capture(result.module, (image(),))
    assert error(again.module(image()), result.module(image())) < TIGHT
    assert error(torch.compile(result.module, backend="aot_eager")(image()), result.module(image())) < TIGHT
    copy.deepcopy(result.module).train()(image()).square().mean().backward()
    fitted = prune(net, f"prune{{ratio=0.5 {LAST}}},reconstruct", calibration=[(image(8),), (image(9),)])
    assert "blocks.0.grouped.weight" in fitted.stages[1].details["error"]
    assert error(fitted.module(image()), net(image())) < error(result.module(image()), net(image()))


def test_steps_with_training_between_keep_the_plan():
    train = fxc.TrainingData([((image(16),), torch.arange(16) % 10)] * 2, nn.CrossEntropyLoss())
    result = prune(make(ResNeXt), f"prune{{ratio=0.5 steps=2 {LAST}}}", train=train)
    for name, tensor in result.module.state_dict().items():
        assert tensor.shape == by_hand(make(ResNeXt).state_dict()[name], result.plan.get(name, {})).shape
    assert apart(result.plan)
    assert len(result.plan["blocks.0.grouped.weight"][1][0]) == 4


def test_heads_lose_the_same_channels_each():
    torch.manual_seed(0)
    net, inputs = Grouped().double().eval(), Grouped.inputs()
    plan = fxc.compress(net, inputs, f"prune{{ratio=0.5 targets=v {LAST}}}").plan
    assert not apart(plan)
    kept = np.array(plan["v.weight"][0]).reshape(2, -1) % 16
    assert (kept == kept[0]).all()


def test_the_plan_is_json():
    plan = prune(make(ResNeXt), f"prune{{ratio=0.5 {LAST}}}").plan
    assert json.loads(json.dumps(plan))["blocks.0.grouped.weight"]["1"][0] == plan["blocks.0.grouped.weight"][1][0]


def test_a_note_says_where_all_groups_lose_the_same():
    def notes_with(activation):
        net = nn.Sequential(
            nn.Conv2d(8, 16, 3, groups=4), activation, nn.Conv2d(16, 16, 1, groups=4), nn.ReLU(), nn.Conv2d(16, 8, 1)
        ).eval()
        return fxc.compress(net, (torch.randn(2, 8, 6, 6),), "prune{ratio=0.5 factor=-1 round_to=1}").stages[0].notes

    assert not notes_with(nn.ReLU())
    (note,) = notes_with(nn.Sigmoid())
    assert "lose the same slots" in note
