"""Taps see what forward hooks on the original model see, bit for bit, and say so where they cannot."""

import importlib.util
import runpy
from pathlib import Path

import pytest
import torch
from hooked import seen_by_hooks
from taught_nets import pictures, words
from torch import nn

import fxcompress as fxc
from fxcompress.capturing import as_inputs
from fxcompress.errors import PassFailed
from fxcompress.graph.tensors import named_tensors
from fxcompress.teaching import find_taps, tapped
from fxcompress.teaching.places import Places

ZOO = Path(__file__).parents[2] / "benchmarks" / "zoo_models" / "operators.py"


def every_value(module):
    """Text of every value of every call of every module in the graph, with path and call."""
    places = Places(module)
    for path in places.paths():
        for call in places.calls(path):
            for index in range(len(places.values((path, call)))):
                yield f"{path}@{call}:{index}", path, call


def assert_as_hooks(model, inputs, several=()):
    """Every value of every module is what a hook saw; `several` are the modules that give more than one."""
    given = as_inputs(inputs)
    module, seen = fxc.capture(model, given).module, seen_by_hooks(model, given)
    rows = list(every_value(module))
    taps = [find_taps(module, [text])[0] for text, _, _ in rows]
    with torch.no_grad():
        values = given.call(tapped(module, taps))[1]
    for tap, (_, path, call) in zip(taps, rows, strict=True):
        hooked = seen[path][call]
        assert path in several or len(hooked) == 1, path
        assert any(one.shape == values[tap.name].shape and torch.equal(one, values[tap.name]) for one in hooked), tap
    return module, {path for _, path, _ in rows}, seen


def test_a_network_for_pictures():
    module, paths, seen = assert_as_hooks(*pictures())
    assert set(seen) - paths == set()
    assert len(find_taps(module, ["again@0", "again@1", "again.1@1"])) == 3


def test_a_network_for_words():
    module, paths, seen = assert_as_hooks(*words(), several=("pair", "rnn"))
    assert set(seen) - paths == {"nothing"}
    assert [tap.name for tap in find_taps(module, ["pair:1", "_hidden", "rnn:0", "norm"])] == [
        "pair:1",
        "_hidden",
        "rnn:0",
        "norm",
    ]


def test_models_of_transformers():
    transformers = pytest.importorskip("transformers")
    if importlib.util.find_spec("torchvision"):
        runpy.run_path(str(ZOO))["import_torchvision"]()
    sizes = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    bert = transformers.BertModel(transformers.BertConfig(**sizes, intermediate_size=32)).eval()
    inputs = {"input_ids": torch.randint(1, 30, (2, 7)), "attention_mask": torch.ones(2, 7, dtype=torch.long)}
    module, _, _ = assert_as_hooks(bert, inputs)
    assert [tap.name for tap in find_taps(module, ["encoder.layer.*"])] == ["encoder.layer.0", "encoder.layer.1"]
    config = transformers.LlamaConfig(**sizes, num_key_value_heads=1, intermediate_size=32, use_cache=False)
    llama = transformers.LlamaForCausalLM(config).eval()
    assert_as_hooks(llama, inputs, several=("model.rotary_emb",))


test_models_of_transformers = pytest.mark.filterwarnings("default")(test_models_of_transformers)


def names(module, *texts):
    return [tap.name for tap in find_taps(module, texts)]


def test_what_a_text_means():
    module = fxc.capture(*pictures()).module
    assert names(module, "layers.*") == ["layers.0", "layers.1"]
    assert names(module, "layers.?.conv") == ["layers.0.conv", "layers.1.conv"]
    assert names(module, "layers.**") == [
        "layers.0",
        "layers.0.conv",
        "layers.0.norm",
        "layers.0.act",
        "layers.1",
        "layers.1.conv",
        "layers.1.norm",
        "layers.1.act",
    ]
    assert names(module, "", "output", "logits") == ["output.logits", "output.features"]
    assert names(module, "output.features|pool", "features") == ["output.features|pool", "output.features"]
    assert names(module, "conv2d_1", "image") == ["conv2d_1", "image"]
    assert names(module, "again*@1") == ["again@1"]
    (tap,) = find_taps(module, ["layers.0|pool|cast:f16"])
    assert (tap.path, tap.node, str(tap.transform)) == ("layers.0", "relu", "pool|cast:f16")
    assert find_taps(module, [tap.name]) == (tap,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer.0", r"near are: layers\.0 f32\[b, 4, 6, 6\]"),
        ("again", r"called 2 times\n.*again@0, again@1"),
        ("again@2", "there is no again@2"),
        ("stem:1", r"there is no stem:1\n.*stem:0 f32\[b, 4, 6, 6\]"),
        ("stem|topk", "does not read"),
        ("stem|pol", "did you mean 'pool'"),
        ("stem|topk:2|pool", "behind topk"),
        ("stem|pool:4", "dimensions 0"),
        ("zzz.*", "is no module"),
    ],
)
def test_a_text_that_means_nothing(text, message):
    module = fxc.capture(*pictures()).module
    with pytest.raises(PassFailed, match=f"(?s){message}"):
        tapped(module, find_taps(module, [text]))


def test_several_values_are_named_with_their_types():
    module = fxc.capture(*words()).module
    with pytest.raises(PassFailed, match=r"(?s)gives 2 values.*pair:0 f32\[b, 5, 6\], pair:1 f32\[b, 5, 6\]"):
        find_taps(module, ["pair"])


def test_what_passes_left_of_a_module():
    """A fold takes the norm's value into the convolution; pruning leaves the values of the slots that stay."""
    model, inputs = pictures()
    seen = seen_by_hooks(model, as_inputs(inputs))
    folded = fxc.compress(model, inputs, "fold-bn").module
    with pytest.raises(PassFailed, match=r"near are: layers\.0\.conv f32"):
        find_taps(folded, ["layers.0.norm"])
    values = tapped(folded, find_taps(folded, ["layers.0.conv", "layers.1"]))(*inputs)[1]
    torch.testing.assert_close(values["layers.0.conv"], seen["layers.0.norm"][0][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(values["layers.1"], seen["layers.1"][0][0], rtol=1e-4, atol=1e-5)
    pruned = fxc.compress(model, inputs, "prune{ratio=0.5 round_to=1}").module
    values = tapped(pruned, find_taps(pruned, ["stem", "layers.1"]))(*inputs)[1]
    assert values["stem"].shape[1] < 4
    assert values["layers.1"].shape[1] < 4
    masked = fxc.compress(model, inputs, "mask{sparsity=0.5}").module
    given = tapped(masked, find_taps(masked, ["stem"]))(*inputs)[1]["stem"]
    weight = masked.stem.weight * (masked.stem.weight != 0)
    torch.testing.assert_close(given, torch.nn.functional.conv2d(inputs[0], weight, model.stem.bias, padding=1))


def test_quantized_graphs_keep_their_places():
    model, inputs = pictures()
    batches = [torch.randn(4, 3, 6, 6) for _ in range(3)]
    quantized = fxc.compress(model, inputs, "fold-bn,quantize{scheme=w8a8-static}", calibration=batches).module
    seen = seen_by_hooks(model, as_inputs(inputs))
    values = tapped(quantized, find_taps(quantized, ["layers.*", "head", "stem"]))(*inputs)[1]
    for name, value in values.items():
        want = seen[name][0][0]
        assert value.shape == want.shape
        assert (value - want).norm() < 0.1 * want.norm()


def test_a_tapped_module_shares_parameters_and_trains_as_the_original():
    model, inputs = pictures()
    module = fxc.capture(model, inputs).module
    made = tapped(module, find_taps(module, ["layers.0", "stem|project:3"]))
    held = dict(named_tensors(module))
    assert all(tensor is held[path] for path, tensor in made.named_parameters())
    assert made.state_dict().keys() == module.state_dict().keys()
    assert all(made.state_dict()[key].data_ptr() == value.data_ptr() for key, value in module.state_dict().items())
    made.train()
    assert not module.training
    before = module.layers.get_submodule("0.norm").running_mean.clone()
    result, values = made(torch.randn(8, 3, 6, 6))
    (result["logits"].sum() + values["layers.0"].square().sum() + values["stem|project:3:0"].sum()).backward()
    assert module.stem.weight.grad is not None
    assert not torch.equal(before, module.layers.get_submodule("0.norm").running_mean)
    # In evaluation both give the same again, since the statistics are the same tensors.
    made.eval()
    assert torch.equal(made(*inputs)[0]["logits"], module(*inputs)["logits"])


def test_the_gradient_of_a_tap_is_that_of_the_original():
    model, inputs = pictures()
    module = fxc.capture(model, inputs).module
    tapped(module, find_taps(module, ["layers.0"]))(*inputs)[1]["layers.0"].square().sum().backward()
    kept = []
    hook = model.layers[0].register_forward_hook(lambda module, args, result: kept.append(result))
    model(*inputs)
    hook.remove()
    kept[0].square().sum().backward()
    for name in ("stem.weight", "layers.0.conv.weight", "layers.0.norm.bias"):
        torch.testing.assert_close(module.get_parameter(name).grad, model.get_parameter(name).grad)
    assert module.get_parameter("head.1.weight").grad is None


def test_what_is_written_in_place_later_is_seen_as_it_was():
    """Where capture leaves a write in place, the tap is a copy made before."""

    class Writes(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(3, 3)
            self.register_buffer("count", torch.zeros(3))

        def forward(self, x):
            self.count.add_(1)
            return self.a(x) + self.count

    model, inputs = Writes().eval(), (torch.randn(2, 3),)
    module = fxc.capture(model, inputs).module
    made = tapped(module, find_taps(module, ["a"]))
    assert torch.equal(made(*inputs)[1]["a"], model.a(*inputs))
