"""reconstruct against the original model: what is redundant comes back exactly, what is not comes nearer."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from nets import with_statistics
from torch import nn
from torch.nn import functional as F

import fxcompress as fxc
from fxcompress.analysis.axes.analyse import analyse
from fxcompress.analysis.axes.groups import Kept, groups_of
from fxcompress.contract import Pass, PassContext, Resources, option
from fxcompress.demo.digits import BATCH, DigitNet, accuracy, load_images
from fxcompress.errors import PassFailed, StepFailed
from fxcompress.graph.shapes import propagate
from fxcompress.passes.reconstruct import Reconstruct
from fxcompress.pruning.refitting.least_squares import Moments, best_fit
from fxcompress.pruning.removing.history import remember
from fxcompress.pruning.removing.rewrite import remove


@dataclass(frozen=True)
class Drop(Pass):
    """Removes slots of one group by their numbers."""

    name = "drop"
    fidelity = "lossy"
    group: str = option(help="the group")
    slots: tuple[int, ...] = option(help="its slots that go")

    def apply(self, module, context):
        axes = analyse(module)
        (group,) = (one for one in groups_of(axes) if one.name == self.group)
        mask = np.ones(group.size, bool)
        mask[list(self.slots)] = False
        remember(module, remove(module, axes, Kept({id(group.leaf): mask})))
        propagate(module)
        return module


def recovered(model, inputs, drops, batches, text="", **options):
    """Drop slots and reconstruct; return the module, the stage, and its error and that of the dropped one alone."""
    passes = [Drop(group, slots) for group, slots in drops.items()]
    pruned = fxc.compress(model, inputs, passes)
    result = fxc.compress(model, inputs, [*passes, Reconstruct(**options)], calibration=batches)
    with torch.no_grad():
        want = model(*inputs)
        errors = [float((one.module(*inputs) - want).norm() / want.norm()) for one in (pruned, result)]
    return result.module, result.stages[-1], *errors


class Perceptron(nn.Module):
    def __init__(self, bias=True):
        super().__init__()
        self.up, self.mid, self.down = nn.Linear(6, 10), nn.Linear(10, 8, bias=bias), nn.Linear(8, 3)

    def forward(self, x):
        return self.down(torch.tanh(self.mid(F.relu(self.up(x)))))


def test_a_neuron_that_others_make_up_for_is_recovered_exactly():
    # Neuron 4 is neuron 0 twice plus neuron 1, also behind relu, where the inputs are positive and so are the weights.
    model = Perceptron().double()
    with torch.no_grad():
        model.up.weight.abs_()
        model.up.bias.abs_()
        for tensor in (model.up.weight, model.up.bias):
            tensor[4] = 2 * tensor[0] + tensor[1]
    batches = [(torch.rand(64, 6, dtype=torch.float64),) for _ in range(4)]
    inputs = (torch.rand(9, 6, dtype=torch.float64),)
    module, stage, before, after = recovered(model, inputs, {"up.weight:0": (4,)}, batches)
    assert before > 1e-2
    assert after < 1e-6
    assert module.mid.weight.shape == (8, 9)
    assert stage.statistics == {"refitted": 1, "kept": 0}
    assert set(stage.details["error"]) == {"mid.weight"}
    assert stage.details["error"]["mid.weight"]["after"] < 1e-12 < stage.details["error"]["mid.weight"]["before"]


class Convolutions(nn.Module):
    """Strided, padded, dilated, grouped convolutions, and channels flattened with their positions."""

    def __init__(self, conv2):
        super().__init__()
        self.conv1, self.conv2, self.head = nn.Conv2d(3, 8, 3, padding=1), conv2, nn.Linear(6, 3)

    def forward(self, x):
        x = F.relu(self.conv2(self.conv1(x)))
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize(
    "conv2",
    [
        nn.Conv2d(8, 6, 3, stride=2, padding=1),
        nn.Conv2d(8, 6, (3, 1), dilation=2, padding=(2, 0), bias=False),
        nn.Conv2d(8, 6, 3, padding="same", dilation=(1, 2)),
        nn.Conv2d(8, 6, 1, padding="valid"),
    ],
)
def test_a_channel_that_others_make_up_for_is_recovered_exactly(conv2):
    model = Convolutions(copy.deepcopy(conv2)).double().eval()
    with torch.no_grad():
        for tensor in (model.conv1.weight, model.conv1.bias):
            tensor[5] = tensor[2] - 0.5 * tensor[3]
    batches = [(torch.randn(16, 3, 9, 9, dtype=torch.float64),) for _ in range(2)]
    inputs = (torch.randn(4, 3, 9, 9, dtype=torch.float64),)
    _, stage, before, after = recovered(model, inputs, {"conv1.weight:0": (5,)}, batches)
    assert before > 1e-3
    assert after < 1e-6
    assert set(stage.details["error"]) == {"conv2.weight"}


def test_groups_are_fitted_one_by_one():
    class Grouped(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv1d(3, 8, 1), nn.Conv1d(8, 4, 3, groups=2)

        def forward(self, x):
            return self.conv2(self.conv1(x))

    model = Grouped().double()
    # The same channel of either group: 1 and 5. What the others make of them is in each group another.
    with torch.no_grad():
        for tensor in (model.conv1.weight, model.conv1.bias):
            tensor[1] = tensor[0] + 2 * tensor[3]
            tensor[5] = tensor[6] - tensor[7]
    groups = [one.name for one in groups_of(analyse(fxc.capture(model, (torch.randn(2, 3, 9).double(),)).module))]
    (name,) = (one for one in groups if one.startswith("conv1.weight:0.1"))
    batches = [(torch.randn(32, 3, 9, dtype=torch.float64),)]
    _, _, before, after = recovered(model, batches[0], {name: (1,)}, batches)
    assert before > 1e-2
    assert after < 1e-6


def test_the_target_is_cut_to_the_outputs_that_are_left():
    model = Perceptron().double()
    with torch.no_grad():
        for tensor in (model.up.weight, model.up.bias):
            tensor[4] = 0
    batches = [(torch.randn(64, 6, dtype=torch.float64),)]
    module, stage, _, _ = recovered(model, batches[0], {"up.weight:0": (4,), "mid.weight:0": (0, 3)}, batches)
    # A neuron that gave nothing is not missed: the rest is as it was, the rows that are left of it.
    want = model.mid.weight.detach()[[1, 2, 4, 5, 6, 7]][:, [0, 1, 2, 3, 5, 6, 7, 8, 9]]
    assert torch.allclose(module.mid.weight, want, atol=1e-6)
    assert stage.details["error"]["down.weight"]["after"] < stage.details["error"]["down.weight"]["before"]


def test_against_least_squares_of_numpy():
    model = Perceptron().double()
    x = torch.randn(256, 6, dtype=torch.float64)
    module, _, before, after = recovered(model, (x,), {"up.weight:0": (4, 7)}, [(x,)], damping=1e-12)
    with torch.no_grad():
        hidden, target = F.relu(model.up(x)), model.mid(F.relu(model.up(x)))
    kept = [i for i in range(10) if i not in (4, 7)]
    rows = np.concatenate([hidden[:, kept].numpy(), np.ones((256, 1))], 1)
    want, *_ = np.linalg.lstsq(rows, target.numpy(), rcond=None)
    assert np.allclose(module.mid.weight.detach().numpy(), want[:-1].T, atol=1e-4)
    assert np.allclose(module.mid.bias.detach().numpy(), want[-1], atol=1e-4)
    assert after < before


def test_a_product_of_matrices_with_a_bias():
    class Addmm(nn.Module):
        """A layer as GPT-2 has it: the weight is [in, out]."""

        def __init__(self):
            super().__init__()
            self.up, self.weight, self.bias = (
                nn.Linear(5, 8),
                nn.Parameter(torch.randn(8, 4)),
                nn.Parameter(torch.randn(4)),
            )

        def forward(self, x):
            return torch.addmm(self.bias, self.up(x), self.weight)

    model = Addmm().double()
    batches = [(torch.randn(64, 5, dtype=torch.float64),)]
    # Eight neurons of five inputs, and no activation: any two can be made up for.
    module, stage, before, after = recovered(model, batches[0], {"weight:0": (0, 3)}, batches)
    assert module.weight.shape == (6, 4)
    assert before > 1e-2
    assert after < 1e-6
    assert set(stage.details["error"]) == {"weight"}


def test_a_folded_batch_norm_belongs_to_the_layer():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
            self.conv2, self.bn2 = nn.Conv2d(8, 5, 3), nn.BatchNorm2d(5)

        def forward(self, x):
            return torch.sigmoid(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))

    model = with_statistics(Normed()).double()
    batches = [(torch.randn(32, 3, 8, 8, dtype=torch.float64),)]
    passes = [*fxc.Pipeline.parse("fold-bn"), Drop("conv1.weight:0", (1, 6))]
    errors = []
    for last in ([], [Reconstruct()]):
        result = fxc.compress(model, batches[0], [*passes, *last], calibration=batches)
        errors.append(float((result.module(*batches[0]) - model(*batches[0])).detach().norm()))
    assert errors[1] < 0.7 * errors[0]
    assert set(result.stages[-1].details["error"]) == {"conv2.weight"}


def test_a_bias_is_added_only_where_it_is_asked_for():
    model = Perceptron(bias=False).double()
    batches = [(torch.rand(128, 6, dtype=torch.float64),)]
    without, _, _, first = recovered(model, batches[0], {"up.weight:0": (1, 4)}, batches)
    added, _, _, second = recovered(model, batches[0], {"up.weight:0": (1, 4)}, batches, bias=True)
    assert "mid.bias" not in without.state_dict()
    assert added.mid.bias.shape == (8,)
    assert second < first


def test_the_ridge_and_the_rows_held_out_keep_what_cannot_be_fitted():
    # More weights than rows: the fit is nowhere better on new rows than what the data cannot show.
    model = Perceptron().double()
    inputs = (torch.randn(200, 6, dtype=torch.float64),)
    _, _, before, after = recovered(model, inputs, {"up.weight:0": (0,)}, [(torch.randn(8, 6).double(),)])
    assert after < 2 * before


def test_moments_give_the_error_of_the_rows():
    x, y, w = torch.randn(2, 50, 4).double(), torch.randn(2, 50, 3).double(), torch.randn(2, 4, 3).double()
    moments = Moments(w.shape, w.device)
    moments.add(x[:, :20], y[:, :20])
    moments.add(x[:, 20:], y[:, 20:])
    want = float((x @ w - y).square().sum() / y.square().sum())
    assert moments.error(w) == pytest.approx(want, rel=1e-12)
    assert moments.rows == 50


def test_old_weights_stay_where_they_are_better_on_rows_held_out():
    x, w = torch.randn(1, 40, 3).double(), torch.randn(1, 3, 2).double()
    learned, held_out = Moments(w.shape, w.device), Moments(w.shape, w.device)
    learned.add(x, -(x @ w))  # The rows to learn from say the opposite of those held out.
    held_out.add(x, x @ w)
    fit = best_fit(learned, held_out, w, 1e-8)
    assert fit.weight is None
    assert fit.before == fit.after


def test_a_shared_weight_is_left_alone_and_said():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(4, 6), nn.Linear(6, 4)

        def forward(self, x):
            x = F.relu(self.down(F.relu(self.up(x))))
            return F.linear(F.relu(self.up(x)), self.down.weight)

    model = Shared().double()
    batches = [(torch.randn(32, 4, dtype=torch.float64),)]
    module, stage, _, _ = recovered(model, batches[0], {"up.weight:0": (2,)}, batches)
    assert stage.details["error"] == {}
    assert any("left alone, the weight is shared" in note for note in stage.notes)
    assert torch.equal(module.down.weight, model.down.weight[:, [0, 1, 3, 4, 5]])


def test_nothing_lost_nothing_done_and_all():
    model = Perceptron()
    batches = [(torch.randn(64, 6),)]
    stage = fxc.compress(model, batches[0], "reconstruct", calibration=batches).stages[0]
    assert not stage.changed
    assert stage.notes == ("nothing to fit: no layer reads fewer channels than before (all=true fits every layer)",)
    stage = fxc.compress(model, batches[0], "mask{sparsity=0.3},reconstruct{all=true}", calibration=batches).stages[1]
    assert set(stage.details["error"]) == {"up.weight", "mid.weight", "down.weight"}


def test_targets_and_ignore():
    model = Perceptron().double()
    batches = [(torch.randn(64, 6, dtype=torch.float64),)]
    drops = {"up.weight:0": (4,), "mid.weight:0": (0,)}
    assert set(recovered(model, batches[0], drops, batches, ignore=("down",))[1].details["error"]) == {"mid.weight"}
    assert set(recovered(model, batches[0], drops, batches, targets=("down",))[1].details["error"]) == {"down.weight"}


def test_calibration_data_are_needed():
    with pytest.raises(StepFailed, match="needs calibration data") as caught:
        fxc.compress(Perceptron(), (torch.randn(2, 6),), "reconstruct")
    assert "calibration=batches" in str(caught.value)


def test_the_graph_before_is_needed():
    module = fxc.capture(Perceptron(), (torch.randn(2, 6),)).module
    with pytest.raises(PassFailed, match="needs the model as it was before the first pass"):
        Reconstruct().apply(module, PassContext(Resources(fxc.Inputs())))


def test_model_and_captured_stay_as_they_were():
    model = Perceptron().double()
    captured = fxc.capture(model, (torch.randn(3, 6, dtype=torch.float64),))
    states = [copy.deepcopy(one.state_dict()) for one in (model, captured.module)]
    batches = [(torch.randn(32, 6, dtype=torch.float64),)]
    fxc.compress(captured, None, [Drop("up.weight:0", (1, 2)), Reconstruct()], calibration=batches)
    for one, state in zip((model, captured.module), states, strict=True):
        assert all(torch.equal(tensor, state[name]) for name, tensor in one.state_dict().items())


@pytest.fixture(scope="module")
def digits():
    """A smaller network than the demo's, trained for some seconds, and the images."""
    pytest.importorskip("sklearn")
    seen, unseen = load_images()
    torch.manual_seed(0)
    network, generator = DigitNet(16), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(3):
        for pixels, labels in seen.batches(generator):
            optimizer.zero_grad()
            F.cross_entropy(network(pixels), labels).backward()
            optimizer.step()
    return network.eval(), seen, unseen


def test_accuracy_on_digits_comes_back(digits):
    network, seen, unseen = digits
    inputs, batches = (unseen.pixels[:BATCH],), [(seen.pixels[: 4 * BATCH],)]
    whole = accuracy(network, unseen)
    pruned = accuracy(fxc.compress(network, inputs, "prune{ratio=0.5}").module, unseen)
    result = fxc.compress(network, inputs, "prune{ratio=0.5},reconstruct", calibration=batches)
    again = accuracy(result.module, unseen)
    assert whole > 90
    assert again > pruned + 0.5 * (whole - pruned), (whole, pruned, again)
    errors = result.stages[1].details["error"]
    assert all(row["after"] < row["before"] for row in errors.values())
    assert result.stages[1].statistics["refitted"] == len(errors) >= 4
