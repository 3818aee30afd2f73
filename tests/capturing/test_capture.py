"""What is captured gives what the original gives, at any batch size, in every form of call."""

from __future__ import annotations

import copy
import warnings

import models
import pytest
import torch
from comparing import assert_same, target_names
from torch import nn

import fxcompress as fxc
from fxcompress.capturing import CaptureWarning, as_inputs
from fxcompress.errors import CaptureError, InputError, ModelError, UsageError
from fxcompress.graph.module import CapturedModule

MODELS = {
    "plain": (models.Plain, models.image),
    "tied": (models.Tied, models.words),
    "no-grad": (models.NoGrad, models.rows(4)),
    "in-place": (models.InPlace, models.rows(9)),
    "attention": (models.Attention, models.rows(5, 8)),
    "recurrent": (models.Recurrent, models.rows(5, 3)),
    "transformer": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), models.rows(5, 8)),
    "channels-last": (lambda: models.Plain().to(memory_format=torch.channels_last), models.image),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("example", [1, 4])
def test_gives_what_the_original_gives_at_any_batch_size(name, example):
    build, inputs = MODELS[name]
    model = build().eval()
    captured = fxc.capture(model, inputs(example))
    assert captured.dynamic
    for batch in (example, 1, 2, 3, 7):
        given = inputs(batch)
        assert_same(captured.module(*given), model(*given))


def test_what_was_traced_symbolically_is_captured():
    model = models.Plain().eval()
    captured = fxc.capture(torch.fx.symbolic_trace(model), models.image(2))
    given = models.image(3)
    assert_same(captured(*given), model(*given))


def test_an_exported_program_is_taken_as_it_is():
    model = models.InPlace().eval()
    shapes = ({0: torch.export.Dim("rows")},)
    program = torch.export.export(model, models.rows(9)(4), dynamic_shapes=shapes, strict=False)
    code = program.graph_module.code
    captured = fxc.capture(program, models.rows(9)(4))
    assert captured.dynamic
    assert captured.notes == ()
    assert program.graph_module.code == code
    given = models.rows(9)(6)
    assert_same(captured(*given), model(*given))


def test_a_saved_exported_program_is_taken_too(tmp_path):
    model = models.InPlace().eval()
    torch.export.save(torch.export.export(model, models.rows(9)(4), strict=False), tmp_path / "model.pt2")
    captured = fxc.capture(torch.export.load(tmp_path / "model.pt2"), models.rows(9)(4))
    assert not captured.dynamic
    assert captured.notes == ()
    given = models.rows(9)(4)
    assert_same(captured(*given), model(*given))


def test_what_was_captured_is_taken_again():
    model = models.Plain().eval()
    captured = fxc.capture(model, models.image(2))
    assert fxc.capture(captured, models.image(2)).module is captured.module
    again = fxc.capture(captured.module, models.image(2))
    assert again.module is captured.module
    assert again.dynamic
    with pytest.raises(InputError, match="input 'image' has shape"):
        fxc.capture(captured, (torch.randn(2, 3, 9, 9),))


@pytest.mark.parametrize("form", ["tuple", "list", "dict", "inputs", "tensor", "mixed"])
def test_every_form_of_inputs(form):
    model = models.Plain().eval()
    (image,) = models.image(2)
    inputs = {
        "tuple": (image,),
        "list": [image],
        "dict": {"image": image},
        "inputs": fxc.Inputs(image),
        "tensor": image,
        "mixed": fxc.Inputs(image, scale=2.0),
    }[form]
    captured = fxc.capture(model, inputs)
    assert_same(as_inputs(inputs).call(captured.module), as_inputs(inputs).call(model))


def test_inputs_may_be_nested():
    class Nested(nn.Module):
        def forward(self, parts, *, more):
            return parts[0] + parts[1]["x"] + more["y"], None, 3

    def inputs(batch):
        parts = [torch.randn(batch, 2), {"x": torch.randn(batch, 2)}]
        return fxc.Inputs(parts, more={"y": torch.randn(batch, 2)})

    captured = fxc.capture(Nested(), inputs(4))
    given = inputs(3)
    assert_same(given.call(captured), given.call(Nested()))


def test_inputs_without_a_batch_keep_their_size():
    class Anchored(nn.Module):
        def forward(self, image, anchors, offset):
            return image.flatten(1) @ anchors + offset

    captured = fxc.capture(Anchored(), (torch.randn(4, 2, 3), torch.randn(6, 5), torch.tensor(1.0)))
    assert captured.dynamic
    given = torch.randn(7, 2, 3), torch.randn(6, 5), torch.tensor(2.0)
    assert_same(captured(*given), Anchored()(*given))


def test_all_inputs_share_one_symbol():
    class Masked(nn.Module):
        def forward(self, words, mask):
            return words * 2, mask + 1

    captured = fxc.capture(Masked(), (torch.randn(4, 3), torch.randn(4, 3)))
    sizes = {str(node.meta["val"].shape[0]) for node in captured.module.graph.nodes if node.op != "output"}
    assert len(sizes) == 1


def test_a_fixed_batch_is_warned_of_and_noted():
    class Fixed(nn.Module):
        def forward(self, x):
            return x.reshape(4, 6)

    with pytest.warns(CaptureWarning, match="the batch size is fixed"):
        captured = fxc.capture(Fixed(), (torch.randn(4, 6),))
    assert not captured.dynamic
    assert any("the batch size is fixed" in note for note in captured.notes)
    with pytest.raises(InputError, match=r"has shape \[3, 8\]"):
        captured(torch.randn(3, 8))


def test_static_shapes_on_demand():
    for dynamic in ("none", False):
        captured = fxc.capture(models.Plain().eval(), models.image(2), dynamic=dynamic)
        assert not captured.dynamic
        assert captured.notes == ()


def test_a_batch_size_that_is_not_meant_is_refused():
    model = models.Branches(lambda size: size % 3 == 0)
    with pytest.warns(CaptureWarning, match="chooses its way by the batch size"):
        captured = fxc.capture(model, (torch.randn(3, 2),))
    given = torch.randn(6, 2)
    assert_same(captured(given), model(given))
    with pytest.raises(InputError, match="multiples of 3"):
        captured(torch.randn(4, 2))
    with pytest.warns(CaptureWarning), pytest.raises(InputError, match="100 or less"):
        fxc.capture(models.Branches(lambda size: size > 100), (torch.randn(3, 2),))(torch.randn(101, 2))
    with pytest.warns(CaptureWarning, match="the batch size is fixed"):
        captured = fxc.capture(models.Branches(lambda size: size % 3 == 1), (torch.randn(4, 2),))
    assert not captured.dynamic


def test_no_checks_and_no_wrapped_regions_are_left():
    for name, (build, inputs) in MODELS.items():
        targets = target_names(fxc.capture(build().eval(), inputs(2)).module)
        for word in (
            "assert",
            "_guards",
            "lift_fresh",
            "wrap_with",
            "alias",
            "detach_",
            "sym_constrain",
            "fill_",
            "copy_",
        ):
            assert not any(word in target for target in targets if target != "aten.masked_fill.Scalar"), (name, word)


def test_every_node_has_its_type_and_its_place():
    module = fxc.capture(models.NoGrad(), models.rows(4)(2)).module
    environments = set()
    for node in module.graph.nodes:
        if node.op == "output":
            continue
        value = node.meta["val"]
        assert isinstance(value, torch.Tensor)
        environments.add(value.fake_mode.shape_env)
        assert node.op != "call_function" or node.meta["nn_module_stack"]
    assert len(environments) == 1


def test_inputs_come_first():
    module = fxc.capture(models.Plain().eval(), fxc.Inputs(*models.image(2), scale=1.0)).module
    assert [node.op for node in module.graph.nodes][:3] == ["placeholder", "placeholder", "get_attr"]


class Decides(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x
        return -x


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.deep = nn.Sequential(nn.Linear(2, 2), Decides())

    def forward(self, x):
        return self.deep(x)


def test_a_failure_names_class_place_and_a_way_out(capfd):
    with pytest.raises(CaptureError) as caught:
        fxc.capture(Inner(), (torch.randn(3, 2),))
    text = str(caught.value)
    assert text.startswith("Inner cannot be captured at ")
    assert "test_capture.py:" in text
    assert "in deep.1:" in text
    assert "torch.where" in text
    assert len(text.splitlines()) == 3
    assert caught.value.__cause__ is not None
    assert capfd.readouterr().err == ""


def test_wrong_calls_are_refused():
    model = models.Plain().eval()
    with pytest.raises(InputError, match="does not take the example inputs"):
        fxc.capture(model, (1, 2, 3, 4))
    with pytest.raises(InputError, match="inputs are given as int"):
        fxc.capture(model, 3)
    with pytest.raises(ModelError, match="a str is no model"):
        fxc.capture("model", models.image(2))
    with pytest.raises(UsageError, match="dynamic='shape'"):
        fxc.capture(model, models.image(2), dynamic="shape")
    with pytest.raises(CaptureError):
        fxc.capture(model, (torch.randn(2, 4, 8, 8),))


def test_it_is_quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for build, inputs in MODELS.values():
            fxc.capture(build().eval(), inputs(2))


def test_the_module_can_be_copied_compiled_and_exported():
    model = models.Plain().eval()
    captured = fxc.capture(model, models.image(2)).module
    (image,) = models.image(3)
    want = model(image)
    copied = copy.deepcopy(captured)
    assert_same(copied(image), want)
    assert {id(p) for p in copied.parameters()}.isdisjoint(id(p) for p in captured.parameters())
    assert_same(CapturedModule(captured, captured.graph)(image), want)
    program = torch.export.export(captured, (image,), dynamic_shapes=({0: torch.export.Dim("b")},), strict=False)
    assert_same(program.module()(image), want)
    assert_same(torch.compile(captured, backend="eager", fullgraph=True)(image), want)
