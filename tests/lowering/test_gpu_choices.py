"""Which kernel takes a linear on a GPU: predicted times, what is told of them, and kernels of plugins."""

from __future__ import annotations

import pytest
import torch
from lowered_nets import Layer, Wide, compressed, far
from torch import nn

import fxcompress as fxc
from fxcompress.contract import Device, Kernel, Linear
from fxcompress.contract.kernels import Weight
from fxcompress.lowering.gpu.choosing import decide
from fxcompress.lowering.gpu.devices import device_named, known


def test_of_few_rows_activations_are_not_rounded_and_of_many_they_are():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(2048, 2048, dtype=torch.bfloat16)).eval(), torch.randn(2, 2048).bfloat16()
    for batch, kind in ((1, "weight-only"), (16384, "int8")):
        result = compressed(net, x, f"quantize{{scheme=w8a8}},lower{{device=cuda batch={batch}}}")
        (made,) = result.stages[-1].details["lowered"].values()
        assert (made["kind"], made["rows"]) == (kind, batch)


def test_what_is_hardly_sparse_stays_dense_and_says_why():
    torch.manual_seed(0)
    net, x = Wide().eval().bfloat16(), torch.randn(4, 512).bfloat16()
    result = compressed(net, x, "mask{pattern=block:128x16 sparsity=0.25},lower{device=cuda batch=4096}")
    assert "gpu_linear" not in result.module.code
    assert any(
        "dense for 4096 rows, 512 to 2048" in note and "block-sparse" in note for note in result.stages[-1].notes
    )
    loose = compressed(net, x, "mask{sparsity=0.5},lower{device=cuda}")
    assert any("100% of its blocks are not zero" in note for note in loose.stages[-1].notes)


def test_every_linear_is_told_of_with_the_device():
    torch.manual_seed(0)
    result = compressed(Layer().eval(), torch.randn(2, 9, 64), "quantize{scheme=w8a16},lower{device=cuda arch=sm_80}")
    notes = "\n".join(result.stages[-1].notes)
    assert all(f"%{name}" in notes for name in ("linear", "linear_1", "linear_2", "linear_3", "linear_4", "linear_5"))
    assert "NVIDIA A100" in notes


@pytest.mark.parametrize(
    ("text", "says"),
    [("arch=sm_91", "did you mean 'sm_90'"), ("backends=weight-onyl", "did you mean 'weight-only'")],
)
def test_wrong_names_are_told_with_the_nearest(text, says):
    with pytest.raises(fxc.FxcompressError) as failure:
        compressed(Layer().eval(), torch.randn(2, 9, 64), f"lower{{device=cuda {text}}}")
    assert says in str(failure.value)


def simple(name, took, priority=0, refuses=None):
    return Kernel(name, lambda _: refuses, lambda linear, _: took(linear.rows), lambda *_: None, priority)


LINEAR = Linear(("fc",), 8, torch.float16, Weight(torch.zeros(4, 4)))
DEVICE = Device("sm_00", "none", 1.0, {"float16": 2.0}, 0.5, {"otherwise": 0.5, "half": 0.25})


def test_the_fastest_is_chosen_up_to_where_another_is():
    slow, fast = simple("flat", lambda rows: 100.0), simple("steep", lambda rows: float(rows))
    decision = decide(LINEAR, [slow, fast, simple("never", lambda rows: 0.0, refuses="no")], DEVICE)
    assert decision.kernel is fast
    # By brute force: the first number of rows with which the flat one is in front by more than 2%.
    first = next(rows for rows in range(8, 200) if rows > 100.0 * 1.02)
    assert abs(decision.until - first) <= 4
    assert decision.then == "flat"
    assert decision.refused == {"never": "no"}


def test_of_equals_the_higher_priority_is_chosen():
    one, two = simple("one", lambda rows: 1.0), simple("two", lambda rows: 1.01, priority=1)
    assert decide(LINEAR, [one, two], DEVICE).kernel is two
    assert decide(LINEAR, [], DEVICE).kernel is None


def test_times_by_hand():
    # 4 bytes a second 1 is 4 s, 6 operations of 2 a second are 3 s; half of the floor doubles it; two launches add 1 s.
    assert DEVICE.microseconds("any", moved=4, work=6, dtype=torch.float16, launches=2) == 9e6
    assert DEVICE.microseconds("half", moved=1, work=6, dtype=torch.float16, launches=0) == 12e6
    assert DEVICE.microseconds("any", moved=1, work=1, dtype=torch.int8) == float("inf")


def test_every_device_has_what_predictions_need():
    assert {"sm_80", "sm_89", "sm_90"} <= set(known())
    for arch in known():
        device = device_named(arch)
        assert device.arch == arch
        assert {"float16", "bfloat16", "float32", "int8"} <= set(device.operations)
        assert all(0 < fraction <= 1 for fraction in device.fractions.values())


def test_a_kernel_of_a_plugin_is_asked_and_builds():
    class Plugin:
        @fxc.hookimpl
        def register_kernels(self, register):
            register(fxc.Kernel("ternary", refuses, lambda linear, device: 0.001, build))

    def refuses(linear):
        return None if linear.outputs == 2048 else "it has other sizes"

    def build(linear, site):
        product = site.call(torch.ops.aten.matmul.default, site.given, site.store("turned", linear.weight.values.T))
        return site.behind(site.call(torch.ops.aten.add.Tensor, product, site.bias))

    torch.manual_seed(0)
    plugins = fxc.Plugins(autoload=False)
    plugins.register(Plugin(), "mine")
    net, x = Wide().eval(), torch.randn(3, 512)
    result = fxc.compress(net, (x,), "lower{device=cuda}", plugins=plugins)
    assert [made["kind"] for made in result.stages[-1].details["lowered"].values()] == ["ternary"]
    assert "up.weight_turned" in result.module.state_dict()
    assert far(result.module(x), net(x)) < 1e-5


@pytest.mark.parametrize(
    ("kernel", "says"),
    [
        ("nothing", "is no kernel"),
        (Kernel("Bad Name", len, len, len), "kebab"),
        (Kernel("x", None, len, len), "refuses"),
    ],
)
def test_what_is_no_kernel_is_told(kernel, says):
    class Plugin:
        @fxc.hookimpl
        def register_kernels(self, register):
            register(kernel)

    with pytest.raises(fxc.FxcompressError, match=says):
        fxc.Plugins(autoload=False).register(Plugin(), "mine")
