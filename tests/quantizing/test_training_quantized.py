"""fake-quantize and convert: what is trained is what is stored, and training helps where rounding alone does not."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fxcompress as fxc
from fxcompress.analysis.fidelity import sqnr_db
from fxcompress.errors import StepFailed

IMAGE = (4, 3, 8, 8)
SCHEMES = (
    "scheme=w8a16",
    "scheme=w8a16 granularity=tensor",
    "scheme=w4a16 group=16",
    "scheme=w2a16 granularity=channel",
    "scheme=w8a8",
    "scheme=w8a8-static",
)


class Net(nn.Module):
    """Convolutions of all kinds, a tied pair, a table, a product with a view, and a value that two layers read."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.grouped, self.up = nn.Conv2d(8, 16, 3, groups=2), nn.ConvTranspose2d(16, 8, 2)
        self.left, self.right = nn.Linear(8, 8), nn.Linear(8, 8)
        self.right.weight = self.left.weight
        self.table = nn.Embedding(5, 8)
        self.matrix = nn.Parameter(torch.randn(8, 6) / 3)
        self.drop = nn.Dropout(0.1)

    def forward(self, image):
        x = torch.relu(self.norm(self.stem(image)))
        x = self.up(torch.relu(self.grouped(x))).mean((2, 3))
        x = self.left(x) + torch.tanh(self.right(x))
        x = x + self.table(torch.arange(x.shape[0], device=x.device) % 5)
        return self.drop(x) @ self.matrix.t().t()


@pytest.fixture(scope="module")
def captured():
    torch.manual_seed(0)
    return fxc.capture(Net().eval(), (torch.randn(IMAGE),))


@pytest.fixture(scope="module")
def batches():
    torch.manual_seed(1)
    return [torch.randn(IMAGE) for _ in range(3)]


def trained(module, batches, steps=10):
    """Any optimizer and any loop; the numbers to learn are drawn at random."""
    torch.manual_seed(2)
    module.train()
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    targets = [torch.randn(4, 6, dtype=batches[0].dtype) for _ in batches]
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = F.mse_loss(module(batches[step % 3]), targets[step % 3])
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    # The last step sees the batch of the first.
    assert losses[-1] < losses[0] or steps < 10
    return module.eval()


def results(module, batches):
    with torch.no_grad():
        return [module(batch) for batch in batches]


@pytest.mark.parametrize("options", SCHEMES)
def test_untrained_it_is_what_quantize_gives(captured, batches, options):
    """Both of them round to the same integers, so that nothing jumps when training begins or ends."""
    quantized = fxc.compress(captured, None, f"quantize{{{options}}}", calibration=batches)
    pretending = fxc.compress(captured, None, f"fake-quantize{{{options}}}", calibration=batches)
    converted = fxc.compress(pretending, None, "convert")
    assert sqnr_db(results(quantized.module, batches), results(pretending.module, batches)) > 100
    assert sqnr_db(results(quantized.module, batches), results(converted.module, batches)) > 100
    found = converted.stages[0].details
    assert found["quantized"] == quantized.stages[0].details["quantized"]
    assert found["activations"].keys() == quantized.stages[0].details["activations"].keys()
    state, wanted = converted.module.state_dict(), quantized.module.state_dict()
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], wanted[name]) for name in state)


@pytest.mark.parametrize("options", SCHEMES)
def test_converted_it_gives_what_was_trained(captured, batches, options):
    pretending = fxc.compress(captured, None, f"fake-quantize{{{options}}}", calibration=batches)
    module = trained(pretending.module, batches)
    stretches = {name: held for name, held in module.named_parameters() if name.endswith("_stretch")}
    assert all(held.abs().max() > 0 for held in stretches.values())
    before = results(module, batches)
    result = fxc.compress(module, (batches[0],), "convert")
    assert sqnr_db(before, results(result.module, batches)) > 100
    assert not [name for name in result.module.state_dict() if name.endswith("_stretch")]
    assert not [node for node in result.module.graph.nodes if "fake_quantize" in str(node.target)]


@pytest.mark.parametrize("options", ["scheme=w8a16", "scheme=w4a16 group=16", "scheme=w8a8"])
def test_in_float64_too(batches, options):
    torch.manual_seed(0)
    model, wide = Net().double().eval(), [batch.double() for batch in batches]
    module = trained(fxc.compress(model, (wide[0],), f"fake-quantize{{{options}}}").module, wide)
    before = results(module, wide)
    assert sqnr_db(before, results(fxc.compress(module, (wide[0],), "convert").module, wide)) > 120


def test_what_is_stored_is_what_numpy_makes_of_the_parameters(captured, batches):
    pretending = fxc.compress(captured, None, "fake-quantize{scheme=w8a16}")
    module = trained(pretending.module, batches)
    state = {name: held.detach().double().numpy() for name, held in module.state_dict().items()}
    result = fxc.compress(module, (batches[0],), "convert").module
    for path, axis in (("stem.weight", 0), ("grouped.weight", 0), ("up.weight", 1), ("table.weight", 0)):
        steps = state[f"{path}_scale"] * 2.0 ** state[f"{path}_stretch"]
        shape = [-1 if dim == axis else 1 for dim in range(state[path].ndim)]
        want = np.clip(np.round(state[path] / steps.reshape(shape)), -127, 127)
        assert (np.abs(want - result.get_buffer(path).numpy()) > 0).mean() < 0.01, "all but ties"
        assert np.allclose(result.get_buffer(f"{path}_scale").numpy(), steps, rtol=1e-6)


def test_names_and_ties_stay(captured):
    result = fxc.compress(captured, None, "fake-quantize{scheme=w4a16 group=8}")
    state = result.module.state_dict()
    assert captured.module.state_dict().keys() <= state.keys()
    assert result.module.left.weight is result.module.right.weight
    assert sum("fake_quantize_weight" in str(node.target) for node in result.module.graph.nodes) == 6
    assert result.stages[0].statistics["tensors"] == 6
    assert result.stages[0].statistics["learned"] == sum(
        held.numel() for name, held in state.items() if name.endswith("_stretch")
    )


def test_saved_and_loaded_it_goes_on_learning(captured, batches, tmp_path):
    result = fxc.compress(captured, None, "fake-quantize{scheme=w8a8-static}", calibration=batches)
    trained(result.module, batches, 4)
    result.save(tmp_path / "half.fxc")
    loaded = fxc.load(tmp_path / "half.fxc").module
    one, other = (trained(module, batches, 4) for module in (copy.deepcopy(result.module), loaded))
    assert all(torch.equal(*pair) for pair in zip(results(one, batches), results(other, batches), strict=True))
    converted = fxc.compress(loaded, (batches[0],), "convert")
    converted.save(tmp_path / "done.fxc")
    again = fxc.load(tmp_path / "done.fxc").module
    assert all(
        torch.equal(*pair) for pair in zip(results(converted.module, batches), results(again, batches), strict=True)
    )


def test_lower_takes_what_was_trained(captured, batches):
    module = trained(fxc.compress(captured, None, "fake-quantize{scheme=w8a8}").module, batches)
    result = fxc.compress(module, (batches[0],), "convert,lower{measure=false}")
    assert result.stages[1].details["lowered"]
    assert sqnr_db(results(module, batches), results(result.module, batches)) > 30


@pytest.mark.parametrize("options", ["scheme=w8a16", "scheme=w8a8-static"])
def test_pruned_while_it_is_trained(options):
    """Against the model that still has the channels, with everything that was taken set to zero."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4)
    )
    batches = [torch.randn(IMAGE)]
    whole = fxc.compress(model, (batches[0],), f"fake-quantize{{{options}}}", calibration=batches)
    result = fxc.compress(whole, None, "prune{ratio=0.5 round_to=1}")
    removed = result.stages[0].details["removed"]
    assert {"0.weight", "0.weight_scale", "0.weight_stretch", "0.bias", "2.weight"} <= set(removed)
    masked = copy.deepcopy(whole.module)
    with torch.no_grad():
        for path, places in removed.items():
            if not path.endswith(("_scale", "_stretch")):
                for dim, indices in places.items():
                    masked.get_parameter(path).index_fill_(dim, torch.tensor(indices), 0)
    assert sqnr_db(results(masked, batches), results(result.module, batches)) > 80
    converted = fxc.compress(result, None, "convert")
    assert sqnr_db(results(result.module, batches), results(converted.module, batches)) > 80


def test_zeros_stay_zeros(captured, batches):
    result = fxc.compress(captured, None, "mask{sparsity=0.5},fake-quantize{scheme=w4a16 group=8}")
    for path in result.stages[0].details["masked"]:
        zeros = result.module.get_parameter(path) == 0
        node = next(one for one in result.module.graph.nodes if one.target == path and one.op == "get_attr")
        (call,) = node.users
        arguments = [one.target if hasattr(one, "target") else one for one in call.args]
        tensors = [result.module.get_parameter(path)] + [
            result.module.state_dict().get(one) if isinstance(one, str) else one for one in arguments[1:]
        ]
        assert not call.target(*tensors)[zeros].any()


def test_gradients_pass_rounded_tokens(captured, batches):
    """`quantize{scheme=w8a8}` stops them there; in training they reach the first layer."""
    module = fxc.compress(captured, None, "fake-quantize{scheme=w8a8 targets=left}").module.train()
    module(batches[0]).sum().backward()
    assert module.stem.weight.grad.abs().sum() > 0


def test_what_does_not_fit_is_said(captured, batches):
    with pytest.raises(StepFailed, match="bf16 has no steps to learn"):
        fxc.compress(captured, None, "fake-quantize{schemes=stem:bf16}")
    with pytest.raises(StepFailed, match="needs calibration data"):
        fxc.compress(captured, None, "fake-quantize{scheme=w8a8-static}")
    nothing = fxc.compress(captured, None, "convert")
    assert nothing.stages[0].notes == ("nothing is rounded in training: fake-quantize comes first",)
    twice = fxc.compress(captured, None, "fake-quantize,fake-quantize")
    assert not twice.stages[1].changed
    assert any("quantized already" in note for note in twice.stages[1].notes)
    module = fxc.compress(captured, None, "fake-quantize").module
    with torch.no_grad():
        module.stem.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(StepFailed, match=r"stem\.weight holds numbers that are not finite"):
        fxc.compress(module, (batches[0],), "convert", verify_run=False)


def test_fold_constants_leaves_it_trainable(captured, batches):
    result = fxc.compress(captured, None, "fake-quantize{scheme=w4a16 group=8},tidy")
    assert sum("fake_quantize_weight" in str(node.target) for node in result.module.graph.nodes) == 6
    trained(result.module, batches)


def test_training_wins_back_what_two_bits_lose():
    """On real digits: as good as before where rounding alone is not."""
    pytest.importorskip("sklearn")
    from fxcompress.demo.digits import DigitNet, accuracy, load_images

    seen, unseen = load_images()

    def fitted(network, epochs, rate):
        generator = torch.Generator().manual_seed(0)
        optimizer = torch.optim.AdamW(network.train().parameters(), lr=rate)
        for _ in range(epochs):
            for pixels, digits in seen.batches(generator):
                optimizer.zero_grad()
                F.cross_entropy(network(pixels), digits).backward()
                optimizer.step()
        return network.eval()

    torch.manual_seed(0)
    network = fitted(DigitNet(8), 6, 1e-2)
    folded = fxc.compress(network, (unseen.pixels[:8],), "fold-bn")
    rounded = fxc.compress(folded, None, "quantize{scheme=w2a16}").module
    learned = fitted(fxc.compress(folded, None, "fake-quantize{scheme=w2a16}").module, 4, 3e-3)
    converted = fxc.compress(learned, (unseen.pixels[:8],), "convert").module
    dense, two_bits, after = (accuracy(one, unseen) for one in (folded.module, rounded, converted))
    assert two_bits < dense - 15
    assert after > dense - 3
    assert accuracy(learned, unseen) == after
