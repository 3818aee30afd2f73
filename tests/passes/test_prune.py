"""prune against the original model whose removed slices are zero, in float64; budgets, targets, criteria, plans."""

from __future__ import annotations

import copy

import pytest
import torch
from pruned_nets import NETS, Attention, Convolutions, FeaturesToo, Grouped, Perceptron, Shuffling, masked, randomised
from torch import nn
from torch.nn import functional

import fxcompress as fxc
from fxcompress.analysis.cost import cost
from fxcompress.errors import StepFailed, UsageError

TIGHT = 1e-10


def make(cls):
    torch.manual_seed(0)
    net = randomised(cls()).double().eval()
    return net, cls.inputs()


def prune(net, inputs, text, **data):
    return fxc.compress(net, inputs, text, **data)


def error(got, want):
    return float((got - want).detach().norm() / want.detach().norm())


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("options", ["", " factor=-1", " round_to=1 scope=global", " importance=random round_to=1"])
@pytest.mark.parametrize("cls", NETS, ids=lambda cls: cls.__name__)
def test_what_is_removed_exactly_is_what_zeros_would_do(cls, options):
    net, inputs = make(cls)
    result = prune(net, inputs, f"prune{{ratio=0.5 exact=true{options}}}")
    details = result.stages[0].details
    assert details["removed"]
    want = masked(net, details["removed"])(*inputs)
    assert error(result.module(*inputs), want) < TIGHT
    assert details["proof"] < TIGHT
    larger = cls.inputs(5)
    assert error(result.module(*larger), masked(net, details["removed"])(*larger)) < TIGHT


@pytest.mark.parametrize("cls", NETS, ids=lambda cls: cls.__name__)
def test_the_result_trains_saves_compiles_and_is_captured_again(cls, tmp_path):
    net, inputs = make(cls)
    result = prune(net, inputs, "prune{ratio=0.5 round_to=1}")
    assert count(result.module) < 0.8 * count(net)
    want = result.module(*inputs)
    result.save(tmp_path / "net.fxc")
    assert torch.equal(fxc.load(tmp_path / "net.fxc").module(*inputs), want)
    again = fxc.capture(result.module, inputs)
    assert error(again.module(*inputs), want) < TIGHT
    compiled = torch.compile(result.module, backend="aot_eager")
    assert error(compiled(*inputs), want) < TIGHT
    module = copy.deepcopy(result.module).train()
    module(*inputs).square().mean().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in module.parameters())


def test_pruning_twice_composes():
    net, inputs = make(Convolutions)
    result = prune(net, inputs, "prune{ratio=0.25 round_to=1 exact=true},prune{ratio=0.5 round_to=1 exact=true}")
    removed = {
        name: {dim: sorted(set(range(tensor.shape[dim])) - set(kept)) for dim, kept in result.plan[name].items()}
        for name, tensor in net.state_dict().items()
        if name in result.plan
    }
    assert error(result.module(*inputs), masked(net, removed)(*inputs)) < TIGHT


def test_a_norm_over_the_pruned_axis_is_not_exact_and_is_named():
    net, inputs = make(Attention)
    lossy = prune(net, inputs, "prune{ratio=0.5}").stages[0].details
    assert any("layer_norm" in why and "normalises" in why for why in lossy["inexact"].values())
    exact = prune(net, inputs, "prune{ratio=0.5 exact=true}").stages[0]
    names = {row["name"] for row in exact.details["groups"]}
    assert not names & exact.details["inexact"].keys()
    assert any("left alone" in note for note in exact.notes)


def test_what_is_returned_and_read_keeps_its_size_with_zeros():
    net, inputs = make(FeaturesToo)
    result = prune(net, inputs, "prune{ratio=0.5 round_to=1 exact=true}")
    removed = result.stages[0].details["removed"]
    want, got = masked(net, removed)(*inputs), result.module(*inputs)
    assert removed["conv.weight"][0]
    for key in ("features", "logits"):
        assert error(got[key], want[key]) < TIGHT
    assert (got["features"] == 0).all(0).sum() == len(removed["conv.weight"][0])


def test_heads_are_removed_whole_with_their_part_of_the_projection():
    net, inputs = make(Attention)
    result = prune(net, inputs, "prune{ratio=0.5 targets=qkv}")
    removed = result.stages[0].details["removed"]
    # q, k and v of two of the four heads, 8 channels each.
    gone = sorted(place % 32 // 8 for place in removed["qkv.weight"][0])
    heads = set(gone)
    assert len(heads) == 2
    assert [gone.count(head) for head in heads] == [24, 24]
    assert len(removed["out.weight"][1]) == 16


def test_the_channels_of_heads_leave_the_scale_of_the_scores_as_it_was():
    net, inputs = make(Attention)
    result = prune(net, inputs, "prune{ratio=0.5 targets=qkv factor=-1 round_to=1 exact=true}")
    assert error(result.module(*inputs), masked(net, result.stages[0].details["removed"])(*inputs)) < TIGHT
    scale = next(node for node in result.module.graph.nodes if "scaled_dot" in str(node.target)).kwargs["scale"]
    assert scale == pytest.approx(8**-0.5)


@pytest.mark.parametrize(("factor", "rows"), [(0, {"q": 32, "k": 16}), (1, {"q": 32}), (-1, {"q": 32, "k": 16})])
def test_grouped_queries_lose_whole_groups_or_queries_of_each_or_rotary_pairs(factor, rows):
    net, inputs = make(Grouped)
    result = prune(net, inputs, f"prune{{ratio=0.5 targets=q factor={factor} round_to=1 exact=true}}")
    removed = result.stages[0].details["removed"]
    assert error(result.module(*inputs), masked(net, removed)(*inputs)) < TIGHT
    assert {name: len(removed[f"{name}.weight"][0]) for name in ("q", "k") if f"{name}.weight" in removed} == rows
    if factor == -1:
        # Channel j of a head is rotated with channel j + 8, by one frequency.
        gone = {place % 16 for place in removed["q.weight"][0]}
        assert gone == {place + 8 * half for place in removed["frequencies"][0] for half in (0, 1)}


class Drawing(nn.Module):
    """Keeps the positions that chance says, as masked autoencoders do, and repeats groups by their number."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Linear(12, 32), nn.Linear(64, 10)

    def forward(self, x):
        order = torch.rand(x.shape[0], x.shape[1]).argsort(1)[:, :3]
        x = functional.relu(self.stem(x)).gather(1, order[:, :, None].expand(-1, -1, 32)).mean(1)
        return self.head(x.view(-1, 4, 8).repeat_interleave(2, 1, output_size=8).flatten(1))


def test_a_model_that_draws_random_numbers_is_proved_by_the_same_draws():
    torch.manual_seed(0)
    inputs = (torch.randn(4, 6, 12).double(),)
    result = prune(Drawing().double().eval(), inputs, "prune{ratio=0.5 exact=true}")
    assert result.stages[0].details["removed"]
    assert result.stages[0].details["proof"] < TIGHT


@pytest.mark.parametrize("cls", [Perceptron, Convolutions])
def test_quantized_weights_are_pruned_with_their_scales(cls):
    net, inputs = make(cls)
    result = prune(net, inputs, "quantize,prune{ratio=0.5 exact=true}")
    removed = result.stages[1].details["removed"]
    assert any(name.endswith("_scale") for name in removed)
    quantized = prune(net, inputs, "quantize").module
    want = masked(quantized, removed)
    assert error(result.module(*inputs), want(*inputs)) < 1e-6


def test_a_relaxed_shuffle_lets_its_halves_differ():
    net, inputs = make(Shuffling)
    strict = prune(net, inputs, "prune{ratio=0.5 exact=true round_to=1}")
    relaxed = prune(net, inputs, "prune{ratio=0.5 exact=true round_to=1 shuffle=relaxed}")
    removed = relaxed.stages[0].details["removed"]
    assert error(relaxed.module(*inputs), masked(net, removed)(*inputs)) < TIGHT
    assert len(relaxed.stages[0].details["groups"]) > len(strict.stages[0].details["groups"])
    again = prune(relaxed, None, "prune{ratio=0.25 exact=true round_to=1}")
    assert again.stages[0].details["proof"] < TIGHT
    assert count(again.module) < count(relaxed.module)


@pytest.mark.parametrize("scope", ["local", "global", "isomorphic"])
@pytest.mark.parametrize("budget", ["macs", "params"])
def test_a_budget_is_met(budget, scope):
    net, inputs = make(Convolutions)
    result = prune(net, inputs, f"prune{{{budget}=0.5 scope={scope} round_to=1}}")
    given = result.captured.inputs
    after, before = (getattr(cost(one, inputs=given), budget) for one in (result.module, result.captured.module))
    assert 0.35 * before < after <= 0.5 * before


def test_round_to_leaves_multiples_where_a_group_is_large_enough():
    net, inputs = make(Convolutions)
    for row in prune(net, inputs, "prune{ratio=0.4}").stages[0].details["groups"]:
        assert row["kept"] % 8 == 0 or row["size"] < 16
    for row in prune(net, inputs, "prune{ratio=0.9 round_to=1 min_channels=5}").stages[0].details["groups"]:
        assert row["kept"] >= 5


def test_ratios_of_their_own_targets_and_ignore():
    net, inputs = make(Perceptron)
    rows = prune(net, inputs, "prune{ratio=0.5 ratios=first:0.25 round_to=1}").stages[0].details["groups"]
    assert {row["name"]: row["kept"] for row in rows} == {"first.weight:0": 36, "second.weight:0": 16}
    rows = prune(net, inputs, "prune{targets=second}").stages[0].details["groups"]
    assert [row["name"] for row in rows] == ["second.weight:0"]
    rows = prune(net, inputs, "prune{ignore=second}").stages[0].details["groups"]
    assert [row["name"] for row in rows] == ["first.weight:0"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prune{importance=l3}", "there is no importance 'l3'"),
        ("prune{targets=frist}", "did you mean 'first'"),
        ("prune{targets=third}", "is a result of the model"),
        ("prune{macs=0.001}", "cannot be reached"),
        ("prune{macs=0.5 params=0.5}", "both say how much"),
        ("prune{ratios=first}", "pattern:ratio"),
        ("prune{importance=taylor}", "needs training data"),
        ("prune{importance=wanda}", "calibration"),
        ("prune{threshold=0.1}", "calibration"),
        ("prune{steps=2}", "training data"),
    ],
)
def test_what_cannot_be_done_is_said(text, message):
    net, inputs = make(Perceptron)
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(StepFailed, match=message):
        prune(net, inputs, text)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def kept_by(net, inputs, criterion, **data):
    """Return which outputs of the first layer stay, four of 48."""
    text = f"prune{{ratio={1 - 4 / 48} importance={criterion} targets=first round_to=1}}"
    stage = prune(net, inputs, text, **data).stages[0]
    return set(range(48)) - set(stage.details["removed"]["first.weight"][0])


def largest(scores):
    return set(scores.topk(4).indices.tolist())


def test_criteria_of_weights_are_what_they_say():
    net, inputs = make(Perceptron)
    rows, columns = net.first.weight.detach(), net.second.weight.detach()
    assert kept_by(net, inputs, "l1") == largest(rows.abs().sum(1))
    assert kept_by(net, inputs, "l2") == largest(rows.norm(dim=1))
    assert kept_by(net, inputs, "group-norm") == largest(rows.square().sum(1) + columns.square().sum(0))
    assert kept_by(net, inputs, "fpgm") == largest(torch.cdist(rows, rows).sum(1))
    assert kept_by(net, inputs, "lamp") == largest(rows.norm(dim=1))
    assert kept_by(net, inputs, "random") == kept_by(net, inputs, "random")


def test_criteria_of_data_are_what_they_say():
    net, inputs = make(Perceptron)
    batches = [(torch.randn(16, 12).double(),) for _ in range(3)]
    hidden = functional.relu(net.first(torch.cat([batch[0] for batch in batches])))
    assert kept_by(net, inputs, "activation", calibration=batches) == largest(hidden.abs().mean(0))
    energy = net.second.weight.detach().abs().sum(0) * hidden.square().mean(0).sqrt()
    assert kept_by(net, inputs, "wanda", calibration=batches) == largest(energy)
    labels = [torch.randint(0, 10, (16,)) for _ in batches]
    train = fxc.TrainingData(list(zip(batches, labels, strict=True)), nn.CrossEntropyLoss())
    assert kept_by(net, inputs, "taylor", train=train) == largest(_gate_gradients(net, batches, labels).abs())


def _gate_gradients(net, batches, labels):
    """The derivative of the loss by a factor on each pre-activation of the first layer."""
    gates = torch.ones(48, dtype=torch.float64, requires_grad=True)
    for (x,), label in zip(batches, labels, strict=True):
        hidden = functional.relu(net.first(x) * gates)
        functional.cross_entropy(net.third(functional.relu(net.second(hidden))), label).backward()
    return gates.grad


def test_a_threshold_removes_what_is_hardly_active():
    net, inputs = make(Perceptron)
    with torch.no_grad():
        net.first.bias[:10] = -100.0
    batches = [(torch.randn(64, 12).double(),)]
    result = prune(net, inputs, "prune{threshold=1e-6 targets=first}", calibration=batches)
    assert result.stages[0].details["removed"]["first.weight"][0] == list(range(10))
    assert error(result.module(*inputs), net(*inputs)) < TIGHT


def test_bn_scale_removes_the_smallest_scales():
    net, inputs = make(FeaturesToo)
    with torch.no_grad():
        net.norm.weight[3:11] = 1e-3
    stage = prune(net, inputs, "prune{ratio=0.25 importance=bn-scale targets=conv}").stages[0]
    assert stage.details["removed"]["norm.weight"][0] == list(range(3, 11))


def test_steps_reach_the_ratio_and_train_between():
    net, inputs = make(Perceptron)
    batches = [((torch.randn(16, 12).double(),), torch.randint(0, 10, (16,))) for _ in range(4)]
    train = fxc.TrainingData(batches, nn.CrossEntropyLoss())
    result = prune(net, inputs, "prune{ratio=0.5 steps=3 round_to=1}", train=train)
    stage = result.stages[0]
    assert {row["name"]: (row["size"], row["kept"]) for row in stage.details["groups"]} == {
        "first.weight:0": (48, 24),
        "second.weight:0": (32, 16),
    }
    assert sum("mean training loss" in note for note in stage.notes) == 2
    kept = result.plan["first.weight"][0]
    assert sorted([*kept, *stage.details["removed"]["first.weight"][0]]) == list(range(48))
    assert not torch.allclose(result.module.state_dict()["first.weight"], net.first.weight[kept])


@pytest.mark.parametrize("cls", NETS, ids=lambda cls: cls.__name__)
def test_a_plan_prunes_another_checkpoint(cls):
    net, inputs = make(cls)
    result = prune(net, inputs, "prune{ratio=0.5 exact=true}")
    torch.manual_seed(1)
    other = randomised(cls()).double().eval()
    captured = fxc.capture(other, inputs)
    before = copy.deepcopy(captured.module.state_dict())
    pruned = fxc.apply_plan(captured, result.plan)
    removed = result.stages[0].details["removed"]
    assert error(pruned.module(*inputs), masked(other, removed)(*inputs)) < TIGHT
    assert all(torch.equal(tensor, before[name]) for name, tensor in captured.module.state_dict().items())


def test_a_plan_of_some_tensors_takes_the_coupled_ones_with_it():
    net, inputs = make(Convolutions)
    folded = prune(net, inputs, "fold-bn,prune{ratio=0.5 exact=true}")
    assert "norm.weight" not in folded.plan
    pruned = fxc.apply_plan(fxc.capture(net, inputs), folded.plan)
    assert error(pruned.module(*inputs), folded.module(*inputs)) < 1e-8


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"frist.weight": {0: [1]}}, "did you mean 'first.weight'"),
        ({"first.weight": {2: [1]}}, "does not fit first.weight"),
        ({"first.weight": {0: [99]}}, "does not fit first.weight"),
        ({"first.weight": {0: []}}, "does not fit first.weight"),
        ({"third.weight": {0: [0, 1]}}, "cannot stay without others"),
        ({"first.weight": {0: [0, 1]}, "second.weight": {1: [2, 3]}}, "cannot stay without others"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(plan, message):
    net, inputs = make(Perceptron)
    with pytest.raises(UsageError, match=message):
        fxc.apply_plan(fxc.capture(net, inputs), plan)
