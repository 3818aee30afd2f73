"""`lower{device=cuda}` without a GPU: what it chooses, that the results stay, and that modules are saved and moved."""

from __future__ import annotations

import copy

import pytest
import torch
from lowered_nets import IDS, Decoder, Layer, Wide, compressed, far
from torch import nn

import fxcompress as fxc

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
# Of the largest magnitude: rounding of results, and of activations that fall to another side.
NEAR = {torch.float32: 1e-4, torch.float16: 6e-3, torch.bfloat16: 4e-2}


def operators(result, word="gpu_"):
    names = [str(getattr(node.target, "__name__", node.target)) for node in result.module.graph.nodes]
    return [name.removesuffix(".default") for name in names if word in name]


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


def test_floats_of_8_bits():
    torch.manual_seed(0)
    net, x = Layer().eval(), torch.randn(2, 9, 64)
    quantized = compressed(net, x, "quantize{scheme=fp8}")
    lowered = compressed(net, x, "quantize{scheme=fp8},lower{device=cuda}")
    assert operators(lowered, "gpu_linear") == ["gpu_linear_fp8"] * 4
    assert far(lowered.module(x), quantized.module(x)) < 5e-2


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scheme", ["w8a16", "w4a16"])
def test_a_gate_is_one_product_and_only_rows_of_a_table_become_floats(scheme, dtype):
    torch.manual_seed(0)
    net = Decoder().eval().to(dtype)
    quantized = compressed(net, IDS, f"quantize{{scheme={scheme}}}")
    lowered = compressed(net, IDS, f"quantize{{scheme={scheme}}},lower{{device=cuda}}")
    assert sorted(operators(lowered)) == ["gpu_linear_gated"] + ["gpu_linear_weight_only"] * 3
    assert "dequantize" not in lowered.module.code
    assert far(lowered.module(IDS), quantized.module(IDS)) < NEAR[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("scheme", "backend"), [("w8a8", "int8"), ("fp8", "fp8")])
def test_norms_and_gates_round_what_linears_read(scheme, backend, dtype):
    torch.manual_seed(0)
    net = Decoder().eval().to(dtype)
    quantized = compressed(net, IDS, f"quantize{{scheme={scheme} ignore=table}}")
    lowered = compressed(net, IDS, f"quantize{{scheme={scheme} ignore=table}},lower{{device=cuda backends={backend}}}")
    found = operators(lowered)
    # Both norms and the gated product round their results; attention is followed by a call of its own.
    assert [found.count(name) for name in ("gpu_norm_quantize_rows", "gpu_quantize_rows")] == [3, 1]
    assert not any(word in lowered.module.code for word in ("rsqrt", "silu.default", "dequantize"))
    assert far(lowered.module(IDS), quantized.module(IDS)) < 5e-2


def test_a_norm_that_others_read_stays():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.fc = nn.LayerNorm(32), nn.Linear(32, 32)

        def forward(self, x):
            x = self.norm(x)
            return x * 2 + self.fc(x)

    torch.manual_seed(0)
    net, x = Net().eval(), torch.randn(5, 32)
    lowered = compressed(net, x, "quantize{scheme=w8a8},lower{device=cuda backends=int8}")
    assert operators(lowered) == ["gpu_quantize_rows", "gpu_linear_int8"]
    assert "layer_norm" in lowered.module.code


def test_what_no_kernel_takes_is_named():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv1d(8, 8, 1), nn.Linear(8, 8)

        def forward(self, x):
            return self.fc(self.conv(x).transpose(1, 2))

    torch.manual_seed(0)
    lowered = compressed(Net().eval(), torch.randn(2, 8, 5), "quantize{scheme=w8a16},lower{device=cuda}")
    assert list(lowered.stages[-1].details["left"]) == ["conv1d"]
    assert any("%conv1d: left as it is" in note for note in lowered.stages[-1].notes)
