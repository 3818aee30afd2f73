"""drop-blocks against the model itself with nn.Identity in the place of a block, or with its last layer set to zero."""

from __future__ import annotations

import copy

import pytest
import torch
from nets import Draft, apply
from residual_nets import Bottle, SkipLayer, resnet, transformer
from torch import nn

import fxcompress as fxc
from fxcompress.errors import PipelineError, StepFailed
from fxcompress.passes.drop_blocks import DropBlocks
from fxcompress.pipeline import Pipeline
from fxcompress.testing import check_pass

aten = torch.ops.aten


def run(model, inputs, text, **options):
    return fxc.compress(model, inputs, text, **options)


def same(left, right):
    return torch.allclose(left, right, rtol=1e-12, atol=1e-12)


def without(model, *paths):
    """A copy of `model` in which the modules at `paths` give what they are given."""
    changed = copy.deepcopy(model)
    for path in paths:
        changed.set_submodule(path, SkipLayer())
    return changed


def silenced(model, *paths):
    """A copy of `model` in which the layers at `paths` give zero."""
    changed = copy.deepcopy(model)
    for path in paths:
        for parameter in changed.get_submodule(path).parameters():
            nn.init.zeros_(parameter)
    return changed


def check(result, expected, inputs):
    """The results are those of `expected`, and so are the names and values of the parameters."""
    assert same(result.module(*inputs), expected(*inputs))
    wanted = dict(expected.named_parameters())
    found = dict(result.module.named_parameters())
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[path], wanted[path]) for path in wanted)


@pytest.mark.parametrize(
    "names", [("layer1.0",), ("layer1.1",), ("layer2.1",), ("layer1.0", "layer2.1"), ("layer1.0", "layer1.1")]
)
def test_resnet_blocks_are_as_identities(names):
    model, inputs = resnet()
    result = run(model, inputs, f"drop-blocks{{targets={','.join(names)}}}")
    check(result, without(model, *names), inputs)
    stage = result.stages[0]
    assert stage.details["dropped"] == list(names)
    assert stage.details["kept"] == [name for name in ("layer1.0", "layer1.1", "layer2.1") if name not in names]
    assert [stage.statistics[name] for name in ("dropped", "kept")] == [len(names), 3 - len(names)]
    sizes = [sum(p.numel() for p in model.get_submodule(name).parameters()) for name in names]
    assert stage.statistics["parameters"] == sum(sizes)
    assert stage.notes == (f"replaced by what goes into them: {', '.join(names)}",)


def test_counters_of_batch_norms_go_with_them():
    model, inputs = resnet()
    result = run(model, inputs, "drop-blocks{targets=layer1.0}")
    assert set(result.module.state_dict()) == set(without(model, "layer1.0").state_dict())


def test_a_branch_goes_and_the_activation_stays():
    model, inputs = resnet()
    # Without a ReLU before it, the one behind the sum shows.
    model.stem.register_forward_hook(lambda module, given, output: output - 1)
    model.layer1 = nn.Sequential(nn.Conv2d(8, 8, 1).double(), Bottle(8).double().eval())
    result = run(model, inputs, "drop-blocks{level=branch targets=layer1.1}")
    assert same(result.module(*inputs), silenced(model, "layer1.1.bn2")(*inputs))
    whole = run(model, inputs, "drop-blocks{targets=layer1.1}")
    assert same(whole.module(*inputs), without(model, "layer1.1")(*inputs))
    assert not same(whole.module(*inputs), result.module(*inputs))


@pytest.mark.parametrize("order", ["pre", "post", "parallel", "shared norm"])
@pytest.mark.parametrize("layers", [(0,), (2,), (0, 1), (0, 1, 2)])
def test_layers_of_transformers_are_as_identities(order, layers):
    model, inputs = transformer(order)
    names = [f"layers.{index}" for index in layers]
    result = run(model, inputs, f"drop-blocks{{targets={','.join(names)}}}")
    assert result.stages[0].details["dropped"] == names
    check(result, without(model, *names), inputs)


@pytest.mark.parametrize("order", ["pre", "post", "parallel"])
@pytest.mark.parametrize(
    "parts", [("0.attn",), ("1.mlp",), ("0.attn", "0.mlp"), ("0.mlp", "1.attn", "2.attn", "2.mlp")]
)
def test_branches_of_transformers_are_as_zeros(order, parts):
    model, inputs = transformer(order)
    names = [f"layers.{part}" for part in parts]
    result = run(model, inputs, f"drop-blocks{{level=branch targets={','.join(names)}}}")
    assert result.stages[0].details["dropped"] == names
    last = [f"{name}.proj" if name.endswith("attn") else f"{name}.2" for name in names]
    assert same(result.module(*inputs), silenced(model, *last)(*inputs))
    assert not any(path.startswith(tuple(names)) for path in result.module.state_dict())
    # The norms behind a sum belong to what stays.
    assert ("layers.0.norm1.weight" in result.module.state_dict()) == (order == "post" or "0.attn" not in parts)


class Library(nn.Module):
    """The layers that PyTorch brings, with a decoder that reads what the encoder gives."""

    def __init__(self, norm_first):
        super().__init__()
        options = {"batch_first": True, "norm_first": norm_first, "dim_feedforward": 16, "dropout": 0.0}
        self.encoder = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, **options) for _ in range(2))
        self.decoder = nn.ModuleList(nn.TransformerDecoderLayer(8, 2, **options) for _ in range(2))

    def forward(self, source, target):
        for layer in self.encoder:
            source = layer(source)
        for layer in self.decoder:
            target = layer(target, source)
        return target


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("name", ["encoder.0", "encoder.1", "decoder.0", "decoder.1"])
def test_layers_of_pytorch(norm_first, name):
    model = Library(norm_first).double().eval()
    inputs = tuple(torch.randn(2, steps, 8, dtype=torch.float64) for steps in (5, 3))
    result = run(model, inputs, f"drop-blocks{{targets={name}}}")
    # What only the cross-attention of the block reads goes with it.
    check(result, without(model, name), inputs)


def test_torchvision():
    try:
        import torchvision
    except (ImportError, RuntimeError) as error:
        # One that was built for another PyTorch does not import either.
        pytest.skip(f"no torchvision: {error}")
    model = torchvision.models.resnet18(weights=None).double().eval()
    image = (torch.randn(1, 3, 32, 32, dtype=torch.float64),)
    result = run(model, image, "drop-blocks{targets=layer1,layer2}")
    assert result.stages[0].details["dropped"] == ["layer1.0", "layer1.1", "layer2.1"]
    check(result, without(model, "layer1.0", "layer1.1", "layer2.1"), image)


def vectors(model, inputs, path):
    """What goes into the module at `path` and what comes out, as hooks see it."""
    seen = []
    layer = model.get_submodule(path)
    hook = layer.register_forward_hook(lambda module, given, output: seen.extend((given[0], output)))
    model(*inputs)
    hook.remove()
    return [tensor.detach().flatten(1).numpy() for tensor in seen]


def test_similarity_is_one_minus_the_cosine_of_the_samples():
    model, inputs = resnet()
    batches = [(torch.randn(size, 3, 8, 8, dtype=torch.float64),) for size in (2, 3)]
    stage = run(model, inputs, "drop-blocks", calibration=batches).stages[0]
    wanted = {}
    for path in ("layer1.0", "layer1.1", "layer2.1"):
        cosines = []
        for batch in batches:
            before, after = vectors(model, batch, path)
            rows = zip(before, after, strict=True)
            cosines += [x @ y / ((x @ x) ** 0.5 * (y @ y) ** 0.5) for x, y in rows]
        wanted[path] = 1 - sum(cosines) / 5
    assert stage.details["importance"] == pytest.approx(wanted, rel=1e-9)
    assert stage.details["dropped"] == [min(wanted, key=wanted.get)]


@pytest.mark.parametrize("order", ["pre", "parallel"])
def test_similarity_of_branches_is_that_of_the_sum_with_and_without(order):
    model, inputs = transformer(order)
    stage = run(model, inputs, "drop-blocks{level=branch}", calibration=[inputs]).stages[0]
    for name, last in (("layers.1.attn", "attn.proj"), ("layers.1.mlp", "mlp.2")):
        _, added = vectors(model, inputs, f"layers.1.{last}")
        _, after = vectors(model, inputs, "layers.1")
        if order == "pre" and "attn" in name:
            after = after - vectors(model, inputs, "layers.1.mlp.2")[1]
        rows = list(zip(after - added, after, strict=True))
        cosines = [x @ y / ((x @ x) ** 0.5 * (y @ y) ** 0.5) for x, y in rows]
        assert stage.details["importance"][name] == pytest.approx(1 - sum(cosines) / len(rows), rel=1e-9)


def test_a_block_that_adds_nothing_goes_first():
    model, inputs = resnet()
    model = silenced(model, "layer1.1.bn2")
    for importance in ("similarity", "norm"):
        result = run(model, inputs, f"drop-blocks{{importance={importance}}}", calibration=[inputs])
        assert result.stages[0].details["dropped"] == ["layer1.1"]
        assert result.stages[0].details["importance"]["layer1.1"] == pytest.approx(0, abs=1e-12)
        assert same(result.module(*inputs), model(*inputs))


def test_norm_is_what_the_last_matrix_makes_of_noise():
    model, inputs = transformer()
    nn.init.constant_(model.layers[0].mlp[2].weight, 0.5)
    stage = run(model, inputs, "drop-blocks{level=branch importance=norm}").stages[0]
    noise = torch.randn(200_000, 20, dtype=torch.float64)
    assert stage.details["importance"]["layers.0.mlp"] == pytest.approx(0.5 * 20**0.5, rel=1e-9)
    for index in (1, 2):
        wanted = (noise @ model.layers[index].mlp[2].weight.detach().T).square().mean().sqrt()
        assert stage.details["importance"][f"layers.{index}.mlp"] == pytest.approx(float(wanted), rel=0.02)


def test_norm_behind_a_batch_norm_is_that_of_its_scales():
    model, inputs = resnet()
    importance = run(model, inputs, "drop-blocks{importance=norm}").stages[0].details["importance"]
    for name in ("layer1.0", "layer2.1"):
        scale = model.get_submodule(f"{name}.bn2").weight.detach()
        assert importance[name] == pytest.approx(float((scale**2).mean() ** 0.5))


def test_the_last_ones_go_first():
    model, inputs = transformer()
    result = run(model, inputs, "drop-blocks{importance=last count=2}")
    assert result.stages[0].details["dropped"] == ["layers.1", "layers.2"]


@pytest.mark.parametrize(("ratio", "dropped"), [(0.0, 0), (0.3, 1), (0.5, 2), (1.0, 3)])
def test_ratio_is_of_the_blocks_that_are_named(ratio, dropped):
    model, inputs = transformer()
    text = f"drop-blocks{{importance=last ratio={ratio}}}"
    assert run(model, inputs, text).stages[0].statistics["dropped"] == dropped
    text = f"drop-blocks{{importance=last ratio={ratio} targets=layers.0}}"
    assert run(model, inputs, text).stages[0].statistics["dropped"] == round(ratio)


def test_more_than_there_are():
    model, inputs = resnet()
    stage = run(model, inputs, "drop-blocks{importance=last count=7 targets=layer1}").stages[0]
    assert stage.details["dropped"] == ["layer1.0", "layer1.1"]
    assert stage.notes[0] == "7 blocks should go, 2 can"


def test_what_is_ignored_stays():
    model, inputs = resnet()
    stage = run(model, inputs, "drop-blocks{importance=last ratio=1.0 ignore=layer1.0,layer2.1.conv1.weight}").stages[0]
    assert stage.details["dropped"] == ["layer1.1"]


def test_without_blocks_there_is_a_note():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    stage = run(model, (torch.randn(2, 3),), "drop-blocks").stages[0]
    assert stage.notes == ("no residual block can go: none has the identity for a shortcut",)
    assert stage.statistics["dropped"] == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("drop-blocks{targets=layr1.0}", ["'layr1.0' matches no residual block", "did you mean 'layer1.0'?"]),
        ("drop-blocks{targets=layer2.0}", ["'layer2.0' matches no residual block", "did you mean 'layer2.1'?"]),
        ("drop-blocks{targets=layer1,layer1.0.conv1}", ["'layer1.0.conv1' matches no residual block"]),
        ("drop-blocks{ignore=layer9}", ["'layer9' matches no module"]),
        ("drop-blocks", ["needs calibration data"]),
    ],
)
def test_errors(text, words):
    model, inputs = resnet()
    with pytest.raises(StepFailed) as caught:
        run(model, inputs, text)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_target_of_the_other_level_is_told():
    model, inputs = transformer()
    with pytest.raises(StepFailed, match=r"with  level=branch  there is one"):
        run(model, inputs, "drop-blocks{targets=layers.0.mlp}")


def test_a_target_that_is_read_elsewhere_says_by_what():
    class Leaking(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))

        def forward(self, x):
            inner = self.block[0](x)
            return x + self.block[1](inner), inner

    with pytest.raises(StepFailed, match=r"reads %linear inside of it"):
        run(Leaking(), (torch.randn(2, 3),), "drop-blocks{targets=add}")
    stage = run(Leaking(), (torch.randn(2, 3),), "drop-blocks").stages[0]
    assert stage.notes[-1] == "add: left alone, %output reads %linear inside of it"


def test_count_and_ratio_exclude_each_other():
    with pytest.raises(PipelineError, match="count and ratio exclude each other"):
        DropBlocks(count=1, ratio=0.5)


def test_weights_that_a_block_that_stays_shares_stay():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
            self.second.weight = self.first.weight

        def forward(self, x):
            x = x + torch.tanh(self.first(x))
            return x + torch.tanh(self.second(x))

    model, inputs = Shared().double(), (torch.randn(2, 4, dtype=torch.float64),)
    result = run(model, inputs, "drop-blocks{targets=first}")
    middle = inputs[0] + torch.tanh(model.second(inputs[0]))
    assert same(result.module(*inputs), middle)
    assert set(result.module.state_dict()) >= {"second.weight", "second.bias"}
    assert "first.bias" not in result.module.state_dict()


def test_a_layer_that_is_called_twice_goes_once():
    class Repeated(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Bottle(4)

        def forward(self, x):
            return self.block(self.block(x).tanh())

    model, inputs = Repeated().double().eval(), (torch.randn(2, 4, 5, 5, dtype=torch.float64),)
    stage = run(model, inputs, "drop-blocks{importance=last ratio=1.0}").stages[0]
    assert stage.statistics["dropped"] == 2
    result = run(model, inputs, "drop-blocks{importance=last}")
    assert same(result.module(*inputs), model.block(inputs[0]).tanh())
    assert set(result.module.state_dict()) == set(model.state_dict())


def test_layout_is_kept_for_the_views_behind():
    draft = Draft()
    x = draft.input("x", torch.randn(2, 3, 4, dtype=torch.float64))
    turned = draft.call(aten.transpose.int, x, 1, 2)
    added = draft.call(aten.clone.default, turned, memory_format=torch.contiguous_format)
    added = draft.call(aten.linear.default, added, draft.tensor("w", torch.randn(3, 3, dtype=torch.float64)))
    total = draft.call(aten.add.Tensor, added, turned)
    module = draft.module(draft.call(aten.view.default, total, [2, 12]))
    given = torch.randn(2, 3, 4, dtype=torch.float64)
    dropped, _ = apply("drop-blocks{targets=add}", module)
    assert torch.equal(dropped(given), given.transpose(1, 2).reshape(2, 12))


def test_what_is_left_trains_saves_and_exports(tmp_path):
    model, inputs = transformer()
    result = run(model, inputs, "drop-blocks{targets=layers.1}")
    result.save(tmp_path / "small.fxc")
    loaded = fxc.load(tmp_path / "small.fxc").module
    expected = without(model, "layers.1")
    assert same(loaded(*inputs), expected(*inputs))
    exported = torch.export.export(loaded, inputs).module()
    assert same(exported(*inputs), expected(*inputs))
    module = result.module.train()
    module(*inputs).square().mean().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    # No dropout of the block that is gone is left in the graph.
    graphs = (result.captured.module.graph, module.graph)
    assert [sum("dropout" in str(node.target) for node in graph.nodes) for graph in graphs] == [6, 4]


def test_a_model_that_is_one_block_gives_its_input():
    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x):
            return x + self.linear(x)

    result = run(One(), (torch.randn(2, 3),), "drop-blocks{targets=linear}")
    given = torch.randn(4, 3)
    assert torch.equal(result.module(given), given)


@pytest.mark.parametrize("text", ["drop-blocks", "drop-blocks{level=branch importance=norm ratio=1.0}"])
def test_contract(text):
    (a_pass,) = Pipeline.parse(text)
    report = check_pass(a_pass)
    assert {"convolutional", "attention"} <= set(report.changed)
