"""`lower{device=cuda}` without a GPU: what it chooses, that the results stay, and that modules are saved and moved."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.contract import Device, Kernel, Linear
from fxcompress.contract.kernels import Weight
from fxcompress.lowering.gpu.choosing import decide
from fxcompress.lowering.gpu.devices import device_named, known

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
# Of the largest magnitude: rounding of results, and of activations that fall to another side.
NEAR = {torch.float32: 1e-4, torch.float16: 6e-3, torch.bfloat16: 4e-2}


class Layer(nn.Module):
    """A layer of an encoder: q, k and v of one input, activation, residuals, norms."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(64, 64) for _ in range(4))
        self.up, self.down = nn.Linear(64, 256), nn.Linear(256, 64)
        self.first, self.second = nn.LayerNorm(64), nn.LayerNorm(64)

    def forward(self, x):
        q, k, v = (one(x).unflatten(-1, (4, 16)).transpose(1, 2) for one in (self.q, self.k, self.v))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = self.first(x + self.out(mixed))
        return self.second(x + self.down(nn.functional.gelu(self.up(x))))


def compressed(net, x, text):
    return fxc.compress(net, (x,), text, calibration=[(x,)], plugins=fxc.Plugins(autoload=False))


def operators(result, word="gpu_"):
    names = [str(getattr(node.target, "__name__", node.target)) for node in result.module.graph.nodes]
    return [name.removesuffix(".default") for name in names if word in name]


def far(got, want):
    return float((got.detach().double() - want.detach().double()).abs().max() / want.detach().double().abs().max())


def in_float64(result, x):
    """What the graph of quantize and dequantize nodes gives where all but the stored integers is float64."""
    module = copy.deepcopy(result.module)
    for node in module.graph.nodes:
        if "dequantize" in str(node.target):
            node.kwargs = {key: torch.float64 if key == "out_dtype" else value for key, value in node.kwargs.items()}
            node.args = tuple(torch.float64 if one in FLOATS else one for one in node.args)
    module.recompile()
    for path, value in [*module.named_parameters()]:
        owner, _, last = path.rpartition(".")
        setattr(module.get_submodule(owner), last, nn.Parameter(value.detach().double()))
    return module(x.double())


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("scheme", ["w8a16", "w4a16", "w4a16 group=64"])
def test_weights_alone(scheme, dtype):
    torch.manual_seed(0)
    net, x = Layer().eval().to(dtype), torch.randn(2, 9, 64).to(dtype)
    quantized = compressed(net, x, f"quantize{{scheme={scheme}}}")
    lowered = compressed(net, x, f"quantize{{scheme={scheme}}},lower{{device=cuda}}")
    assert operators(lowered) == ["gpu_linear_weight_only"] * 4
    assert "dequantize" not in lowered.module.code
    assert "gelu.default" not in lowered.module.code
    assert far(lowered.module(x), in_float64(quantized, x)) < NEAR[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("scheme", "near"), [("w8a8", 2e-2), ("w8a8-static", 1e-4)])
def test_activations_in_8_bits(scheme, near, dtype):
    """Tokens are rounded symmetrically here and by their whole range in the graph; one range for all is the same."""
    torch.manual_seed(0)
    net, x = Layer().eval().to(dtype), torch.randn(2, 9, 64).to(dtype)
    quantized = compressed(net, x, f"quantize{{scheme={scheme}}}")
    lowered = compressed(net, x, f"quantize{{scheme={scheme}}},lower{{device=cuda backends=int8}}")
    assert operators(lowered, "gpu_linear") == ["gpu_linear_int8"] * 4
    assert "dequantize" not in lowered.module.code
    assert far(lowered.module(x), quantized.module(x)) < max(near, NEAR[dtype])


def test_of_few_rows_activations_are_not_rounded_and_of_many_they_are():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(2048, 2048, dtype=torch.bfloat16)).eval(), torch.randn(2, 2048).bfloat16()
    for batch, kind in ((1, "weight-only"), (16384, "int8")):
        result = compressed(net, x, f"quantize{{scheme=w8a8}},lower{{device=cuda batch={batch}}}")
        (made,) = result.stages[-1].details["lowered"].values()
        assert (made["kind"], made["rows"]) == (kind, batch)


def test_floats_of_8_bits():
    torch.manual_seed(0)
    net, x = Layer().eval(), torch.randn(2, 9, 64)
    quantized = compressed(net, x, "quantize{scheme=fp8}")
    lowered = compressed(net, x, "quantize{scheme=fp8},lower{device=cuda}")
    assert operators(lowered, "gpu_linear") == ["gpu_linear_fp8"] * 4
    assert far(lowered.module(x), quantized.module(x)) < 5e-2


class Wide(nn.Module):
    def __init__(self, inner=2048):
        super().__init__()
        self.up, self.down = nn.Linear(512, inner), nn.Linear(inner, 512)

    def forward(self, x):
        return x + self.down(nn.functional.silu(self.up(x)))


@pytest.mark.parametrize("balanced", ["true", "false"])
@pytest.mark.parametrize("quantize", ["", ",quantize{scheme=w8a16}"])
def test_blocks(balanced, quantize):
    torch.manual_seed(0)
    net, x = Wide().eval(), torch.randn(3, 512)
    masked = f"mask{{pattern=block:128x16 sparsity=0.9 balanced={balanced}}}{quantize}"
    want = compressed(net, x, masked)
    lowered = compressed(net, x, f"{masked},lower{{device=cuda batch=16384}}")
    assert operators(lowered) == ["gpu_linear_block_sparse"] * 2
    assert far(lowered.module(x), want.module(x)) < 1e-5
    stored = sum(tensor.numel() * tensor.element_size() for tensor in lowered.module.state_dict().values())
    assert stored < 0.2 * 4 * sum(parameter.numel() for parameter in net.parameters())
    pointers = [name for name in lowered.module.state_dict() if "row_pointers" in name]
    assert bool(pointers) == (balanced == "false")


def test_what_is_hardly_sparse_stays_dense_and_says_why():
    torch.manual_seed(0)
    net, x = Wide().eval().bfloat16(), torch.randn(4, 512).bfloat16()
    result = compressed(net, x, "mask{pattern=block:128x16 sparsity=0.25},lower{device=cuda batch=4096}")
    assert operators(result) == []
    assert any(
        "dense for 4096 rows, 512 to 2048" in note and "block-sparse" in note for note in result.stages[-1].notes
    )
    loose = compressed(net, x, "mask{sparsity=0.5},lower{device=cuda}")
    assert any("100% of its blocks are not zero" in note for note in loose.stages[-1].notes)


@pytest.mark.parametrize("text", ["quantize{scheme=w8a16}", "quantize{scheme=w4a16}", "quantize{scheme=fp8}"])
def test_saves_loads_and_moves(text, tmp_path):
    torch.manual_seed(0)
    net, x = Layer().eval(), torch.randn(2, 9, 64)
    result = compressed(net, x, f"{text},lower{{device=cuda}}")
    result.save(tmp_path / "lowered.fxc")
    loaded = fxc.load(tmp_path / "lowered.fxc").module
    assert torch.equal(loaded(x), result.module(x))
    assert copy.deepcopy(loaded).to("meta")(x.to("meta")).shape == x.shape


def test_a_weight_that_is_read_elsewhere_too_is_not_joined():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(32, 32), nn.Linear(32, 32)

        def forward(self, x):
            return self.one(x) + self.two(x), self.one(x + 1)

    torch.manual_seed(0)
    net, x = Tied().eval(), torch.randn(5, 32)
    quantized = compressed(net, x, "quantize{scheme=w8a16}")
    result = compressed(net, x, "quantize{scheme=w8a16},lower{device=cuda}")
    assert not any("joined" in name for name in result.module.state_dict())
    for got, want in zip(result.module(x), quantized.module(x), strict=True):
        assert far(got, want) < 1e-5


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
