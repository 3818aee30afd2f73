"""Inputs as values, and the check that every call of a captured module goes through."""

from __future__ import annotations

import copy

import models
import pytest
import torch
from comparing import assert_same
from torch import nn

import fxcompress as fxc
from fxcompress.capturing import CaptureWarning, as_inputs
from fxcompress.errors import InputError
from fxcompress.graph.module import CapturedModule


def test_inputs_are_described():
    inputs = fxc.Inputs(torch.zeros(2, 3), [torch.zeros(4, dtype=torch.long)], scale=1.0, mask=None)
    assert inputs.describe() == "(f32[2, 3], (i64[4]), scale=1.0, mask=none)"
    assert [tuple(tensor.shape) for tensor in inputs.tensors()] == [(2, 3), (4,)]
    assert inputs.to("meta").tensors()[1].device.type == "meta"
    assert inputs.to("meta").kwargs["scale"] == 1.0
    assert inputs.call(lambda *args, **kwargs: (len(args), sorted(kwargs))) == (2, ["mask", "scale"])
    assert as_inputs(inputs) is inputs
    with pytest.raises(InputError, match="inputs are given as set"):
        as_inputs({1, 2})
    with pytest.raises(InputError):
        as_inputs({1: torch.zeros(2)})


class Options(nn.Module):
    def forward(self, image, mask=None, scale=1.0, flip=False, *, shift: int = 0):
        image = image.flip(-1) if flip else image
        return (image if mask is None else image * mask) * scale + shift


def options():
    return fxc.capture(Options(), fxc.Inputs(torch.ones(4, 3), scale=2.0))


def test_the_signature_holds_as_far_as_the_graph_does():
    module = options().module
    x = torch.randn(5, 3)
    want = Options()(x, scale=2.0)
    for got in (
        module(x, scale=2.0),
        module(image=x, scale=2.0),
        module(x, None, 2.0),
        module(x, scale=2.0, flip=False, shift=0),
        module(x, mask=None, scale=2),
    ):
        assert torch.equal(got, want)


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((torch.ones(4, 3),), {"scale": 3.0}, "input 'scale' is 3.0, the model was captured with 2.0"),
        ((torch.ones(4, 3),), {}, "input 'scale' is missing"),
        ((torch.ones(4, 3),), {"scale": 2.0, "flip": True}, "input 'flip' was left to its default"),
        ((torch.ones(4, 3), torch.ones(4, 3)), {"scale": 2.0}, "input 'mask' was left to its default"),
        ((torch.ones(4, 3),), {"scale": 2.0, "imgae": 1}, "there is no input 'imgae'"),
        ((torch.ones(4, 3),), {"image": torch.ones(4, 3), "scale": 2.0}, "'image' was given by position and by name"),
        ((1, 2, 3, 4, 5, 6), {}, "6 positional inputs were given, 4 can be"),
        (
            (torch.ones(4, 5),),
            {"scale": 2.0},
            r"input 'image' has shape \[4, 5\], the model was captured for f32\[b, 3\]",
        ),
        ((torch.ones(3),), {"scale": 2.0}, r"input 'image' has shape \[3\]"),
        ((4.0,), {"scale": 2.0}, "input 'image' is 4.0, the model was captured with a tensor"),
    ],
)
def test_what_does_not_fit_is_refused(args, kwargs, text):
    module = options().module
    for checked in (module, copy.deepcopy(module), CapturedModule(module, module.graph)):
        with pytest.raises(InputError, match=text):
            checked(*args, **kwargs)


def test_a_nearest_name_is_offered():
    with pytest.raises(InputError, match="did you mean 'image'"):
        options()(imgae=torch.ones(4, 3), scale=2.0)


def test_one_batch_size_for_all_inputs():
    class Sum(nn.Module):
        def forward(self, a, b):
            return a + b

    module = fxc.capture(Sum(), (torch.ones(4, 3), torch.ones(4, 3))).module
    with pytest.raises(InputError, match=r"input 'b' has shape \[2, 3\].*\n.*the batch of input 'a' is 5"):
        module(torch.ones(5, 3), torch.ones(2, 3))


def test_the_check_follows_the_graph():
    module = options().module
    placeholder = module.graph.find_nodes(op="placeholder")[0]
    placeholder.meta["val"] = placeholder.meta["val"].new_empty(4, 5)
    module.recompile()
    with pytest.raises(InputError, match=r"captured for f32\[4, 5\]"):
        module(torch.ones(4, 3), scale=2.0)
    module(torch.ones(4, 5), scale=2.0)


def test_another_precision_is_no_fault():
    module = options().module.double()
    assert module(torch.ones(2, 3, dtype=torch.float64), scale=2.0).dtype == torch.float64


@pytest.mark.parametrize("wrong", ["other length", "other key", "a tensor", "more"])
def test_nested_inputs_of_another_structure_are_refused(wrong):
    class Nested(nn.Module):
        def forward(self, parts):
            return parts["x"][0] + parts["x"][1]

    x = torch.ones(2, 3)
    captured = fxc.capture(Nested(), ({"x": [x, x]},))
    assert_same(captured({"x": [x, x + 1]}), x + x + 1)
    value = {"other length": {"x": [x]}, "other key": {"y": [x, x]}, "a tensor": x, "more": {"x": [x, x, x]}}[wrong]
    with pytest.raises(InputError, match="nested in another way"):
        captured(value)


def test_variable_arguments():
    class Many(nn.Module):
        def forward(self, *images):
            return sum(images)

    x = torch.ones(2, 3)
    captured = fxc.capture(Many(), (x, x))
    assert captured.dynamic
    given = torch.randn(4, 3), torch.randn(4, 3)
    assert_same(captured(*given), Many()(*given))
    for wrong in ((x,), (x, x, x)):
        with pytest.raises(InputError):
            captured(*wrong)


def test_variable_keywords():
    class Named(nn.Module):
        def forward(self, first, **others):
            return first + others["last"]

    x = torch.ones(2, 3)
    with pytest.warns(CaptureWarning, match="the batch size is fixed"):
        captured = fxc.capture(Named(), fxc.Inputs(x, last=x))
    given = torch.randn(2, 3), torch.randn(2, 3)
    assert_same(captured(given[0], last=given[1]), sum(given))
    with pytest.raises(InputError, match="'last' is missing"):
        captured(x)


def test_the_check_is_cheap():
    import timeit

    form = options().module.call_form()
    image = torch.ones(4, 3)
    seconds = min(timeit.repeat(lambda: form.fit((image,), {"scale": 2.0}), number=1000, repeat=5)) / 1000
    assert seconds < 200e-6


def test_batches_of_images_from_a_loader():
    model = models.Plain().eval()
    captured = fxc.capture(model, models.image(2))
    for batch in torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(5, 3, 8, 8)), batch_size=2):
        assert_same(as_inputs(batch).call(captured), as_inputs(batch).call(model))
