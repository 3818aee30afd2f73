"""`cluster` in whole graphs: what is shared, what learns, what is stored, what is left alone."""

from __future__ import annotations

import copy

import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

import fxcompress as fxc


class Net(nn.Module):
    """An embedding, convolutions of both kinds, a tied linear."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(30, 12, padding_idx=0)
        self.conv, self.up = nn.Conv1d(12, 16, 3), nn.ConvTranspose1d(16, 12, 3)
        self.out = nn.Linear(12, 30, bias=False)
        self.out.weight = self.table.weight

    def forward(self, ids):
        x = self.table(ids).transpose(1, 2)
        return self.out(self.up(torch.relu(self.conv(x))).transpose(1, 2))


def net():
    torch.manual_seed(1)
    return Net().eval()


IDS = (torch.randint(0, 30, (2, 9), generator=torch.Generator().manual_seed(0)),)


def compressed(pipeline, model=None, **given):
    return fxc.compress(model or net(), IDS, pipeline, **given)


def weight_of(module, path):
    """The weight that is looked up, element by element."""
    indices, codebook = module.get_buffer(path), module.get_parameter(f"{path}_codebook").detach()
    padded = torch.cat([torch.zeros(len(codebook), 1), codebook], 1)
    size = -(-len(indices) // len(codebook))
    return torch.stack([padded[row // size][indices[row].long()] for row in range(len(indices))])


WEIGHTS = ("out.weight", "conv.weight", "up.weight")


@pytest.mark.parametrize("options", ["bits=2", "values=5", "bits=3 rows=7", "values=3 start=optimal"])
def test_the_graph_calculates_with_what_is_looked_up(options):
    model, result = net(), compressed(f"cluster{{{options}}}")
    reference = net()
    with torch.no_grad():
        for path in WEIGHTS:
            reference.get_parameter(path).copy_(weight_of(result.module, path))
        assert torch.allclose(result.module(*IDS), reference(*IDS), atol=1e-5)
        # Zeros are the row of the padding, and no others.
        assert not reference.table.weight[0].any()
        assert bool((reference.table.weight[1:] != 0).all())
    details = result.stages[0].details["clustered"]
    assert set(details) == set(WEIGHTS)
    for path, facts in details.items():
        before, after = (one.get_parameter(path).detach().double() for one in (model, reference))
        assert facts["zeros"] == int((before == 0).sum())
        assert facts["error"] == pytest.approx(float((after - before).square().sum() / before.square().sum()), rel=1e-5)
        assert result.module.get_buffer(path).dtype == torch.uint8
        assert facts["blocks"] == (1 if "rows" not in options else -(-len(before) // 7))


def test_every_weight_is_the_nearest_value_and_values_are_means():
    result, model = compressed("cluster{bits=3}"), net()
    for path in WEIGHTS:
        before, after = model.get_parameter(path).detach(), weight_of(result.module, path)
        values = after[after != 0].unique()
        assert len(values) == 8
        chosen = before[before != 0]
        nearest = (chosen[:, None] - values[None]).abs().amin(1)
        assert torch.allclose((before - after)[before != 0].abs(), nearest, atol=1e-7)
        for value in values:
            assert float(before[after == value].double().mean()) == pytest.approx(float(value), abs=1e-6)


def test_8_bits_are_255_values_and_1_bit_is_two():
    torch.manual_seed(0)
    model, x = nn.Linear(64, 64).eval(), (torch.randn(2, 64),)
    for bits, values in ((8, 255), (1, 2)):
        made = fxc.compress(model, x, f"cluster{{bits={bits}}}").module
        assert made.get_parameter("weight_codebook").shape == (1, values)
        assert len(weight_of(made, "weight").unique()) == values


def test_training_moves_values_and_keeps_zeros():
    """A step of plain SGD against float64: each value moves by the sum of its weights' gradients."""
    target = torch.randint(0, 30, (2, 9), generator=torch.Generator().manual_seed(9))

    def loss(module):
        return functional.cross_entropy(module(*IDS).flatten(0, 1), target.flatten())

    module = compressed("mask{sparsity=0.7 targets=conv,up},cluster{bits=2}").module
    twin = net().double()
    with torch.no_grad():
        for path in WEIGHTS:
            twin.get_parameter(path).copy_(weight_of(module, path))
    loss(twin).backward()
    before = {path: copy.deepcopy(module.get_parameter(f"{path}_codebook").detach()) for path in WEIGHTS}
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    loss(module.train()).backward()
    optimizer.step()
    for path in WEIGHTS:
        indices = module.get_buffer(path)
        gradient = twin.get_parameter(path).grad
        sums = torch.stack([gradient[indices == place + 1].sum() for place in range(4)])
        want = before[path][0].double() - 0.1 * sums
        assert torch.allclose(module.get_parameter(f"{path}_codebook")[0].double(), want, atol=1e-6)
    assert int((weight_of(module, "conv.weight") == 0).sum()) == round(0.7 * 576)


def test_masks_survive_the_whole_of_deep_compression():
    targets = torch.randint(0, 30, (2, 9), generator=torch.Generator().manual_seed(9))
    train = fxc.TrainingData([(IDS, targets)] * 5, lambda out, want: functional.cross_entropy(out.mT, want))
    steps = "mask{sparsity=0.5 targets=conv},finetune{lr=0.1 optimizer=sgd weight_decay=0.1}"
    result = compressed(f"{steps},cluster{{bits=3}},finetune", train=train)
    masked = compressed(steps.partition(",finetune")[0]).module
    zeros = weight_of(result.module, "conv.weight") == 0
    assert torch.equal(zeros, masked.get_buffer("conv.weight_mask").logical_not())
    assert not [name for name, _ in result.module.named_buffers() if name.endswith("_mask")]
    losses = [stage.details["losses"][0] for stage in result.stages if "losses" in stage.details]
    assert losses[1] < losses[0]


def test_the_named_pipeline():
    targets = torch.randint(0, 30, (2, 9), generator=torch.Generator().manual_seed(9))
    train = fxc.TrainingData([(IDS, targets)] * 3, lambda out, want: functional.cross_entropy(out.mT, want))
    result = compressed("deep-compression", train=train)
    names = [stage.text.partition("{")[0] for stage in result.stages]
    assert names[0] == "mask"
    assert names[-2:] == ["cluster", "finetune"]
    with pytest.raises(fxc.FxcompressError, match="training data"):
        compressed("deep-compression")


def test_ties_stay(tmp_path):
    result = compressed("cluster{bits=3}")
    assert result.module.table.weight is result.module.out.weight
    assert result.module.table.weight.dtype == torch.uint8
    result.save(tmp_path / "m.fxc")
    loaded = fxc.load(tmp_path / "m.fxc").module
    assert torch.equal(loaded(*IDS), result.module(*IDS))
    assert loaded.table.weight is loaded.out.weight


def test_saved_coded_and_smaller(tmp_path):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(200, 300), nn.ReLU(), nn.Linear(300, 10)).eval(), (torch.randn(2, 200),)
    result = fxc.compress(model, x, "mask{sparsity=0.9},cluster{bits=3 biases=true}")
    result.save(tmp_path / "plain.fxc")
    result.save(tmp_path / "coded.fxc", coding="auto")
    for name in ("plain", "coded"):
        assert torch.equal(fxc.load(tmp_path / f"{name}.fxc").module(*x), result.module(*x))
    # A tenth of 63,000 weights, each of about 3 bits and its place of about 4.7.
    assert (tmp_path / "coded.fxc").stat().st_size < 63_000 * (0.1 * 3 + 0.47) / 8 + 2500


def test_lowered_and_exported(tmp_path):
    result = compressed("mask{sparsity=0.5},cluster{bits=2 rows=5}")
    with torch.no_grad():
        want = result.module(*IDS)
        lowered = compressed("mask{sparsity=0.5},cluster{bits=2 rows=5},lower{measure=false}")
        assert torch.allclose(lowered.module(*IDS), want, atol=1e-6)
        assert any("floats in memory" in note for note in lowered.stages[-1].notes)
        result.save(tmp_path / "m.pt2")
        assert torch.allclose(torch.export.load(tmp_path / "m.pt2").module()(*IDS), want, atol=1e-6)
    result.save(tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: IDS[0].numpy()})
    assert torch.allclose(torch.from_numpy(found), want, atol=1e-5)


def test_what_is_left_alone():
    twice = compressed("cluster{bits=3},cluster{bits=2},quantize,mask{sparsity=0.5}")
    assert any("shares values already" in note for note in twice.stages[1].notes)
    assert any("shares values already" in note for note in twice.stages[2].notes)
    assert any("shares values already" in note for note in twice.stages[3].notes)
    assert not any(stage.changed for stage in twice.stages[1:])
    quantized = compressed("quantize,cluster")
    assert any("quantized already" in note for note in quantized.stages[1].notes)
    assert not quantized.stages[1].changed
    tiny = fxc.compress(nn.Linear(3, 2).eval(), (torch.randn(2, 3),), "cluster{bits=8}")
    assert any("take more bytes" in note for note in tiny.stages[0].notes)
    folded = compressed("cluster{bits=3},fold-constants")
    assert not folded.stages[1].changed


def test_activations_around_shared_weights_are_quantized_or_not_but_run():
    mixed = compressed("cluster{bits=3 targets=conv},quantize{scheme=w8a8}")
    assert mixed.module(*IDS).isfinite().all()
    assert mixed.module.get_buffer("conv.weight").dtype == torch.uint8
    assert mixed.module.get_buffer("up.weight").dtype == torch.int8


def test_biases_and_half_precision():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 300), nn.ReLU(), nn.Linear(300, 4)).eval()
    made = fxc.compress(model, (torch.randn(2, 20),), "cluster{bits=2 biases=true}")
    assert set(made.stages[0].details["clustered"]) == {"0.weight", "2.weight", "0.bias"}
    half = fxc.compress(model.bfloat16(), (torch.randn(2, 20).bfloat16(),), "cluster{bits=2}").module
    assert half.get_parameter("0.weight_codebook").dtype == torch.bfloat16
    assert half(torch.randn(2, 20).bfloat16()).dtype == torch.bfloat16


def test_weights_that_are_not_finite_are_refused():
    model = nn.Linear(20, 30).eval()
    with torch.no_grad():
        model.weight[0, 0] = float("nan")
    with pytest.raises(fxc.FxcompressError, match="weight holds numbers that are not finite"):
        fxc.compress(model, (torch.randn(2, 20),), "cluster", verify_run=False)


def test_a_trained_model_gives_the_same_under_compile():
    model = compressed("cluster{bits=3}").module.train()
    found = torch.compile(model, backend="aot_eager")(*IDS)
    found.square().mean().backward()
    gradients = {name: one.grad.clone() for name, one in model.named_parameters()}
    model.zero_grad()
    model(*IDS).square().mean().backward()
    for name, one in model.named_parameters():
        assert torch.allclose(one.grad, gradients[name], atol=1e-6), name
