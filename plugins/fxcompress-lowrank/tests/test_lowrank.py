"""The pass on models: results against numpy, counts against counting, and the contract of every pass."""

import fxcompress_lowrank
import numpy as np
import pytest
import torch
from fxcompress_lowrank import LowRank
from torch import nn

import fxcompress as fxc
from fxcompress.graph.nodes import scope


def compress(model, inputs, lowrank, **given):
    return fxc.compress(model.eval(), (inputs,), [lowrank], **given)


def truncated(weight, rank):
    """The best matrix of this rank, by numpy in float64."""
    left, values, right = np.linalg.svd(weight.detach().double().flatten(1).numpy(), full_matrices=False)
    return torch.from_numpy(left[:, :rank] * values[:rank] @ right[:rank])


def test_a_linear_computes_with_the_truncated_matrix():
    model, x = nn.Sequential(nn.Linear(20, 30)).double(), torch.randn(5, 20, dtype=torch.float64)
    result = compress(model, x, LowRank(ratio=0.5))
    rank = result.stages[0].details["rank"]["0.weight"]
    assert rank == 6
    want = x @ truncated(model[0].weight, rank).T + model[0].bias
    torch.testing.assert_close(result.module(x), want)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(12, 16, 1), (3, 12, 5, 5)),
        (nn.Conv2d(12, 16, 1, stride=2, padding=1, bias=False), (3, 12, 6, 6)),
        (nn.Conv2d(12, 16, 1, padding="same"), (3, 12, 5, 5)),
        (nn.Conv1d(12, 16, 1, stride=3), (3, 12, 7)),
        (nn.Conv3d(12, 16, 1, padding=(0, 1, 2)), (3, 12, 3, 3, 3)),
    ],
)
def test_a_convolution_of_size_one_computes_with_the_truncated_matrix(layer, shape):
    model, x = nn.Sequential(layer).double(), torch.randn(shape, dtype=torch.float64)
    result = compress(model, x, LowRank(ratio=0.6))
    rank = result.stages[0].details["rank"]["0.weight"]
    with torch.no_grad():
        layer.weight.copy_(truncated(layer.weight, rank).view_as(layer.weight))
    torch.testing.assert_close(result.module(x), model(x))


def test_a_weight_of_low_rank_is_split_without_loss():
    model, x = nn.Sequential(nn.Linear(24, 24)), torch.randn(4, 24)
    with torch.no_grad():
        model[0].weight.copy_(torch.randn(24, 3) @ torch.randn(3, 24))
    result = compress(model, x, LowRank(energy=0.999999))
    assert result.stages[0].details["rank"] == {"0.weight": 3}
    torch.testing.assert_close(result.module(x), model(x), atol=1e-4, rtol=1e-4)


def test_full_rank_is_not_smaller_and_stays():
    model, x = nn.Sequential(nn.Linear(8, 8)), torch.randn(4, 8)
    stage = compress(model, x, LowRank(energy=1.0)).stages[0]
    assert not stage.changed
    assert stage.statistics == {"factorized": 0, "kept": 1, "parameters": 0}
    assert stage.notes == ("0.weight left alone: two factors of rank 8 have 128 parameters, it has 64",)


@pytest.mark.parametrize("ratio", [0.1, 0.33, 0.8])
def test_ratio_is_met_by_every_layer_with_the_largest_rank(ratio):
    model, x = (
        nn.Sequential(nn.Linear(40, 30, bias=False), nn.ReLU(), nn.Linear(30, 50, bias=False)),
        torch.randn(2, 40),
    )
    result = compress(model, x, LowRank(ratio=ratio))
    sizes = {name: parameter.numel() for name, parameter in result.module.named_parameters()}
    for name, whole, rank_size in (("0", 1200, 70), ("2", 1500, 80)):
        size = sizes[f"{name}.weight_down"] + sizes[f"{name}.weight_up"]
        assert size <= ratio * whole < size + rank_size
    assert result.stages[0].statistics["parameters"] == 2700 - sum(sizes.values())


def test_ranks_are_rounded_up_and_bounded_below():
    model, x = nn.Sequential(nn.Linear(64, 64)), torch.randn(2, 64)

    def rank(**options):
        return compress(model, x, LowRank(**options)).stages[0].details["rank"]["0.weight"]

    assert rank(ratio=0.1) == 3
    assert rank(ratio=0.1, round_to=8) == 8
    assert rank(ratio=0.1, min_rank=5) == 5
    assert rank(ratio=0.0) == 1


def test_what_is_no_matrix_is_left_alone_and_named():
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 1, groups=2), nn.Conv2d(8, 8, 1))
    stage = compress(model, torch.randn(2, 4, 6, 6), LowRank(ratio=0.6)).stages[0]
    assert stage.notes == ("%conv2d, %conv2d_1 left alone: only a convolution of size 1 with one group is a matrix",)
    assert (stage.statistics["factorized"], stage.statistics["kept"]) == (1, 2)


def test_a_target_that_cannot_be_split_is_an_error():
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU())
    with pytest.raises(fxc.FxcompressError, match="nothing in 0 can be split: only a convolution of size 1"):
        compress(model, torch.randn(2, 4, 6, 6), LowRank(targets=("0",)))
    with pytest.raises(fxc.FxcompressError, match="'7' matches no module"):
        compress(model, torch.randn(2, 4, 6, 6), LowRank(targets=("7",)))


def test_targets_and_ignore_choose_layers():
    model, x = nn.Sequential(*[nn.Linear(16, 16) for _ in range(3)]), torch.randn(2, 16)
    stage = compress(model, x, LowRank(targets=("0", "1.weight"), ignore=("0",))).stages[0]
    assert set(stage.details["rank"]) == {"1.weight"}


class Shared(nn.Module):
    """One weight under two names, read by two linears and, where asked for, by an embedding."""

    def __init__(self, embedded):
        super().__init__()
        self.embedding = nn.Embedding(16, 16)
        self.first = nn.Linear(16, 16)
        self.second = nn.Linear(16, 16)
        self.second.weight = self.first.weight
        if embedded:
            self.embedding.weight = self.first.weight

    def forward(self, ids):
        return self.second(torch.tanh(self.first(self.embedding(ids))))


def test_a_tied_weight_is_split_once_and_stays_tied():
    model, ids = Shared(embedded=False).eval(), torch.randint(16, (3, 4))
    result = compress(model, ids, LowRank())
    assert result.stages[0].statistics["factorized"] == 1
    names = [name for name, _ in result.module.named_parameters()]
    assert sorted(name.partition(".")[2] for name in names) == ["bias", "bias", "weight", "weight_down", "weight_up"]
    with torch.no_grad():
        model.first.weight.copy_(truncated(model.first.weight, 4))
    torch.testing.assert_close(result.module(ids), model(ids), atol=1e-5, rtol=1e-5)


def test_a_weight_that_something_else_reads_is_left_alone():
    stage = compress(Shared(embedded=True), torch.randint(16, (3, 4)), LowRank()).stages[0]
    assert not stage.changed
    assert "%embedding reads the weight too" in stage.notes[0]


def test_calibration_lowers_the_error_on_data_like_it():
    model = nn.Sequential(nn.Conv2d(16, 16, 1, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(64, 16))
    spread = torch.logspace(0, -2, 16).view(16, 1, 1)
    batches = [torch.randn(8, 16, 4, 4) * spread for _ in range(8)]
    x = torch.randn(8, 16, 4, 4) * spread

    def error(**options):
        result = compress(model, x, LowRank(ratio=0.5, targets=("0",), **options), calibration=batches)
        return float((result.module(x) - model(x)).detach().norm())

    assert error(calibrated=True) < 0.5 * error()


def test_missing_calibration_data_is_asked_for():
    model = nn.Sequential(nn.Linear(8, 8))
    with pytest.raises(fxc.FxcompressError, match=r"calibration=batches"):
        compress(model, torch.randn(2, 8), LowRank(calibrated=True))


def test_new_nodes_stay_in_their_module_and_say_where_they_come_from():
    model = nn.Sequential()
    model.add_module("block", nn.Sequential(nn.Linear(16, 16)))
    result = compress(model, torch.randn(2, 16), LowRank())
    made = [node for node in result.module.graph.nodes if node.op == "call_function"]
    assert [scope(node) for node in made] == ["block.0", "block.0"]
    assert [node.name for node in made] == ["linear_down", "linear"]
    assert made[0].meta["origin"] == ("linear",)
    marks = [line.split("  ")[0] for line in str(result.stages[0].diff).splitlines()]
    assert marks[-3:] == ["+ %linear_down", "- %linear", "+ %linear"]


def test_dtype_and_trainability_are_kept():
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16)).bfloat16()
    model[0].weight.requires_grad_(False)
    module = compress(model, torch.randn(2, 16).bfloat16(), LowRank()).module
    parameters = dict(module.named_parameters())
    assert {parameter.dtype for parameter in parameters.values()} == {torch.bfloat16}
    assert [parameters[f"{layer}.weight_up"].requires_grad for layer in "01"] == [False, True]


def test_the_plugin_registers_the_pass():
    plugins = fxc.Plugins(autoload=False)
    plugins.register(fxcompress_lowrank, "lowrank")
    assert fxc.Pipeline.parse("lowrank{energy=0.9}", plugins).passes == (LowRank(energy=0.9),)


@pytest.mark.parametrize("lowrank", [LowRank(), LowRank(energy=0.8, calibrated=True)], ids=str)
def test_the_contract_of_passes(lowrank):
    report = fxc.testing.check_pass(lowrank)
    assert {"convolutional", "perceptron", "attention", "separable"} <= set(report.changed)
