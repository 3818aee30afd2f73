"""What is saved comes back: the same results to the bit, the same names, ties, types, and a module to work on."""

from __future__ import annotations

import copy
import dataclasses
import json

import pytest
import torch
from safetensors import safe_open
from torch import nn
from torch.utils import _pytree as pytree

from fxcompress.capturing import Inputs, capture
from fxcompress.graph.module import CapturedModule
from fxcompress.graph.shapes import propagate
from fxcompress.graph.tensors import named_tensors
from fxcompress.graph.types import symbol_names, type_text
from fxcompress.targets import artifact_bytes, load_artifact, save_artifact
from targets.small_models import Named, Pair, cases

NAMES = ("residual", "attention", "tied", "constants", "recurrent")


def model_case(name):
    torch.manual_seed(0)
    model, inputs, others = cases()[name]
    return model.eval(), inputs, others


@pytest.fixture(scope="module", params=NAMES)
def saved(request, tmp_path_factory):
    """A model, its capture, the file, what was loaded, and inputs of another batch size."""
    model, inputs, others = model_case(request.param)
    captured = capture(model, inputs)
    path = tmp_path_factory.mktemp("saved") / f"{request.param}.fxc"
    save_artifact(path, captured.module, pipeline="fold-bn", inputs=inputs, notes=["a note"])
    return model, captured, path, load_artifact(path), others


def same(one, other):
    leaves, spec = pytree.tree_flatten(one)
    others, other_spec = pytree.tree_flatten(other)
    assert spec == other_spec
    for a, b in zip(leaves, others, strict=True):
        assert type(a) is type(b)
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_the_results_are_the_same_to_the_bit(saved):
    _, captured, _, loaded, others = saved
    same(others.call(captured.module), others.call(loaded.module))


def test_the_results_are_those_of_the_model(saved):
    model, _, _, loaded, others = saved
    torch.testing.assert_close(others.call(loaded.module), others.call(model), rtol=1e-4, atol=1e-5)


def test_the_state_keeps_its_names_order_and_content(saved):
    _, captured, _, loaded, _ = saved
    before, after = captured.module.state_dict(), loaded.module.state_dict()
    assert list(before) == list(after)
    same(dict(before), dict(after))
    rows = [
        [(path, type(tensor), tensor.requires_grad, tensor.dtype) for path, tensor in named_tensors(module)]
        for module in (captured.module, loaded.module)
    ]
    assert rows[0] == rows[1]


def test_the_graph_keeps_nodes_types_and_module_paths(saved):
    _, captured, _, loaded, _ = saved
    assert captured.module.code == loaded.module.code
    symbols = [symbol_names(module.graph) for module in (captured.module, loaded.module)]
    for old, new in zip(captured.module.graph.nodes, loaded.module.graph.nodes, strict=True):
        assert (old.name, old.op, old.target, str(old.args)) == (new.name, new.op, new.target, str(new.args))
        assert type_text(old.meta.get("val"), symbols[0]) == type_text(new.meta.get("val"), symbols[1])
        assert list(old.meta.get("nn_module_stack") or {}) == list(new.meta.get("nn_module_stack") or {})
        assert old.meta.get("always_training") == new.meta.get("always_training")


def test_what_was_said_at_saving_is_there(saved):
    _, captured, path, loaded, _ = saved
    assert loaded.pipeline == "fold-bn"
    assert loaded.notes[-1] == "a note"
    assert loaded.path == path
    assert loaded.versions["torch"] == torch.__version__
    assert loaded.versions["format"] == "1"
    assert loaded.module.training is False
    assert loaded.captured.module is loaded.module
    assert loaded.captured.dynamic == captured.dynamic
    same((loaded.inputs.args, loaded.inputs.kwargs), (captured.inputs.args, captured.inputs.kwargs))
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.pipeline = ""


def test_saving_twice_gives_the_same_bytes(saved, tmp_path):
    _, captured, path, loaded, _ = saved
    for name, module in (
        ("again", captured.module),
        ("copy", copy.deepcopy(captured.module)),
        ("loaded", loaded.module),
    ):
        save_artifact(tmp_path / name, module, pipeline="fold-bn", inputs=captured.inputs, notes=["a note"])
        assert (tmp_path / name).read_bytes() == path.read_bytes(), name


def test_the_size_is_known_without_writing(saved, tmp_path):
    _, captured, _, _, _ = saved
    save_artifact(tmp_path / "alone.fxc", captured.module)
    assert artifact_bytes(captured.module) == (tmp_path / "alone.fxc").stat().st_size


def test_other_readers_of_safetensors_find_the_tensors(saved):
    _, captured, path, _, _ = saved
    held = dict(named_tensors(captured.module))
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        for name in names - {name for name in names if name.startswith(".input")}:
            assert torch.equal(file.get_tensor(name), held[name])
        assert file.metadata()["format"] == "fxcompress"


def test_the_loaded_module_trains_like_the_saved_one(saved):
    _, captured, _, loaded, others = saved
    losses = []
    for source in (captured.module, loaded.module):
        module = copy.deepcopy(source).train()
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        torch.manual_seed(1)
        losses.append([])
        for _ in range(3):
            optimizer.zero_grad()
            leaves = [leaf for leaf in pytree.tree_leaves(others.call(module)) if isinstance(leaf, torch.Tensor)]
            loss = sum(leaf.float().square().mean() for leaf in leaves)
            if loss.requires_grad:
                loss.backward()
                optimizer.step()
            losses[-1].append(loss.item())
    assert losses[0] == losses[1]


def test_flags_follow_train_and_eval(tmp_path):
    model, inputs, _ = model_case("residual")
    captured = capture(model, inputs)
    captured.module.train()
    save_artifact(tmp_path / "training.fxc", captured.module)
    module = load_artifact(tmp_path / "training.fxc").module
    assert captured.module.training, "saving leaves the module as it was"
    captured.module.eval()
    same(inputs.call(captured.module), inputs.call(module))
    module.train()
    assert not torch.equal(inputs.call(module), inputs.call(captured.module))


def test_tied_tensors_stay_tied_and_are_stored_once(tmp_path):
    model, inputs, _ = model_case("tied")
    save_artifact(tmp_path / "tied.fxc", capture(model, inputs).module)
    module = load_artifact(tmp_path / "tied.fxc").module
    assert module.embedding.weight is module.head.weight
    with safe_open(tmp_path / "tied.fxc", framework="pt") as file:
        assert sum(name in ("embedding.weight", "head.weight") for name in file.keys()) == 1  # noqa: SIM118


def test_memory_that_two_tensors_share_stays_shared(tmp_path):
    model, inputs, _ = model_case("tied")
    module = capture(model, inputs).module
    module.head.weight = nn.Parameter(module.embedding.weight.detach())
    save_artifact(tmp_path / "shared.fxc", module)
    loaded = load_artifact(tmp_path / "shared.fxc").module
    assert loaded.embedding.weight is not loaded.head.weight
    with torch.no_grad():
        loaded.embedding.weight.add_(1)
    assert torch.equal(loaded.embedding.weight, loaded.head.weight)


def test_buffers_that_are_not_in_the_state_come_back_as_such(tmp_path):
    model, inputs, _ = model_case("residual")
    save_artifact(tmp_path / "buffers.fxc", capture(model, inputs).module)
    loaded = load_artifact(tmp_path / "buffers.fxc").module
    assert "scale" in dict(loaded.named_buffers())
    assert set(loaded.state_dict()) == set(model.state_dict())


def test_a_loaded_module_can_be_edited_and_typed_anew(tmp_path):
    model, inputs, others = model_case("residual")
    save_artifact(tmp_path / "edit.fxc", capture(model, inputs).module)
    module = load_artifact(tmp_path / "edit.fxc").module
    output = module.graph.output_node()
    with module.graph.inserting_before(output):
        clamp = module.graph.call_function(torch.ops.aten.clamp.default, (output.args[0][0], -0.1, 0.1))
    output.args = ((clamp,),)
    module.graph.lint()
    module.recompile()
    propagate(module)
    assert type_text(clamp.meta["val"], symbol_names(module.graph)) == "f32[b, 5]"
    torch.testing.assert_close(others.call(module), others.call(model).clamp(-0.1, 0.1), rtol=1e-4, atol=1e-5)
    save_artifact(tmp_path / "edited.fxc", module)
    same(others.call(load_artifact(tmp_path / "edited.fxc").module), others.call(module))


def test_a_file_without_inputs_says_so(tmp_path):
    model, inputs, _ = model_case("residual")
    save_artifact(tmp_path / "bare.fxc", capture(model, inputs).module)
    loaded = load_artifact(str(tmp_path / "bare.fxc"))
    assert loaded.inputs is None
    assert loaded.captured.inputs is None
    assert loaded.pipeline == ""


DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu),
]


def bits(tensor):
    """The bytes of a tensor, so that NaN equals NaN and -0 does not equal 0."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else torch.empty(0)


def odd_tensors():
    """Tensors of every dtype and of every layout in memory."""
    found = {}
    for dtype in DTYPES:
        raw = torch.randint(0, 256, (6 * dtype.itemsize,), dtype=torch.uint8)
        if dtype == torch.bool:
            raw = raw % 2
        found[f"dtype.of_{str(dtype).removeprefix('torch.')}"] = raw.view(dtype).reshape(2, 3)
    base = torch.arange(24.0)
    found |= {
        "layout.scalar": torch.tensor(3.5),
        "layout.empty": torch.empty(0, 4, 2),
        "layout.transposed": base.view(4, 6).t(),
        "layout.strided": base[1::3],
        "layout.expanded": torch.tensor([[1.0], [2.0]]).expand(2, 5),
        "layout.channels_last": base.view(1, 4, 3, 2).contiguous(memory_format=torch.channels_last),
        "layout.conjugated": torch.complex(base, base).conj(),
        "layout.negated": torch.complex(base, base).conj().imag,
        "layout.special": torch.tensor([float("nan"), float("inf"), -0.0]),
    }
    return found


def test_tensors_of_every_dtype_and_layout_come_back(tmp_path):
    module = capture(nn.Linear(2, 2), (torch.randn(2, 2),)).module
    tensors = odd_tensors()
    for group in ("dtype", "layout"):
        module.add_module(group, nn.Module())
    for path, tensor in tensors.items():
        group, name = path.split(".")
        getattr(module, group).register_buffer(name, tensor)
    save_artifact(tmp_path / "tensors.fxc", module)
    loaded = dict(load_artifact(tmp_path / "tensors.fxc").module.named_buffers())
    assert set(loaded) == set(tensors)
    for path, tensor in tensors.items():
        assert (loaded[path].dtype, loaded[path].shape) == (tensor.dtype, tensor.shape), path
        assert torch.equal(bits(loaded[path]), bits(tensor.resolve_conj().resolve_neg())), path


def test_quantized_graphs_come_back(tmp_path):
    import fxcompress as fxc

    model, inputs, others = model_case("residual")
    result = fxc.compress(model, inputs, "fold-bn,quantize{scheme=w8a16}")
    result.save(tmp_path / "quantized.fxc")
    loaded = fxc.load(tmp_path / "quantized.fxc")
    assert "dequantize_per_channel" in loaded.module.code
    assert any(tensor.dtype == torch.int8 for _, tensor in named_tensors(loaded.module))
    same(others.call(result.module), others.call(loaded.module))
    again = fxc.compress(loaded, None, "eliminate-dead-nodes")
    same(others.call(again.module), others.call(result.module))


@dataclasses.dataclass
class Result:
    logits: torch.Tensor
    hidden: torch.Tensor | None = None
    absent: torch.Tensor | None = None


class GivesResult(nn.Module):
    def forward(self, x):
        return {"result": Result(x + 1, hidden=x * 2)}


def forget(type_):
    """Undo a registration, as if the program that loads had never imported the class."""
    entry = pytree.SUPPORTED_SERIALIZED_TYPES.pop(type_)
    pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE.pop(entry.serialized_type_name)
    pytree.SUPPORTED_NODES.pop(type_)


def test_a_registered_dataclass_comes_back_as_itself_and_else_as_a_dictionary(tmp_path):
    pytree.register_dataclass(Result, serialized_type_name="tests.Result")
    try:
        module = capture(GivesResult(), (torch.ones(2, 3),)).module
        save_artifact(tmp_path / "result.fxc", module)
        loaded = load_artifact(tmp_path / "result.fxc")
        found = loaded.module(torch.ones(2, 3))["result"]
        assert isinstance(found, Result)
        assert found.absent is None
        assert torch.equal(found.hidden, torch.full((2, 3), 2.0))
        assert loaded.notes == ()
    finally:
        forget(Result)
    loaded = load_artifact(tmp_path / "result.fxc")
    found = loaded.module(torch.ones(2, 3))["result"]
    assert set(found) == {"logits", "hidden"}
    assert torch.equal(found["logits"], torch.full((2, 3), 2.0))
    assert len(loaded.notes) == 1
    assert "tests.Result is not imported" in loaded.notes[0]


def test_a_class_that_is_registered_but_no_dataclass_is_not_used(tmp_path):
    class Holder:
        def __init__(self, items):
            self.items = items

    pytree.register_pytree_node(
        Holder,
        lambda holder: (holder.items, None),
        lambda items, _: Holder(list(items)),
        serialized_type_name="tests.Holder",
    )

    class GivesHolder(nn.Module):
        def forward(self, x):
            return Holder([x, x + 1])

    try:
        save_artifact(tmp_path / "holder.fxc", capture(GivesHolder(), (torch.ones(2),)).module)
        loaded = load_artifact(tmp_path / "holder.fxc")
    finally:
        forget(Holder)
    assert isinstance(loaded.module(torch.ones(2)), list)
    assert "no plain dataclass" in loaded.notes[0]


def test_named_tuples_and_lists_of_inputs(tmp_path):
    xs = [torch.ones(2, 3), torch.zeros(2, 3)]
    inputs = Inputs(xs, {"shift": torch.tensor(1.0)})
    module = capture(Named(), inputs).module
    assert isinstance(inputs.call(module), Pair)
    save_artifact(tmp_path / "named.fxc", module, inputs=inputs)
    loaded = load_artifact(tmp_path / "named.fxc")
    found = loaded.inputs.call(loaded.module)
    assert list(found) == ["left", "right"]
    assert torch.equal(found["left"], torch.full((2, 3), 2.0))
    assert "Pair" in loaded.notes[0]


def test_a_graph_of_flat_arguments_comes_back(tmp_path):
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    x.meta["val"] = torch.empty(2, 3, device="meta")
    graph.output(graph.call_function(torch.ops.aten.relu.default, (x,)))
    module = CapturedModule(nn.Module(), graph)
    save_artifact(tmp_path / "flat.fxc", module)
    value = torch.randn(2, 3)
    assert torch.equal(load_artifact(tmp_path / "flat.fxc").module(value), value.clamp(min=0))


def test_the_document_is_plain_json(saved):
    _, captured, path, _, _ = saved
    with safe_open(path, framework="pt") as file:
        document = json.loads(file.metadata()["document"])
    assert [node["name"] for node in document["graph"]["nodes"]] == [node.name for node in captured.module.graph.nodes]
    assert {row["path"] for row in document["tensors"]} == {path for path, _ in named_tensors(captured.module)}
