"""lower gives what the graph of quantize and dequantize nodes gave, with every backend, and says what it left."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from nets import apply, operations
from quantized_nets import QuantizedDraft, near
from torch import nn

import fxcompress as fxc
from fxcompress.kernels.backends import VARIABLE, available, read_again
from fxcompress.passes.lower import Lower

aten = torch.ops.aten
# Without timing, so that the outcome is the same everywhere.
LOWER = "lower{measure=false}"


@pytest.fixture(autouse=True)
def asked_anew():
    read_again()
    yield
    read_again()


OTHERS = ("onednn", "fbgemm", "int_mm")
ALL = ",".join(("native", *OTHERS))
every_backend_off = pytest.mark.parametrize("off", ["", "native", *(f"native,{name}" for name in OTHERS), ALL])


def attention(draft, x, quantized):
    """q, k, v of four heads, read by attention through views; a projection behind."""
    heads = []
    for name, biased in (("q", True), ("k", False), ("v", True)):
        made = draft.linear(quantized, name, 32, 32, biased)
        made = draft.call(aten.view.default, made, [3, 5, 4, 8])
        heads.append(draft.call(aten.transpose.int, made, 1, 2))
    mixed = draft.call(aten.scaled_dot_product_attention.default, *heads)
    return draft.call(aten.reshape.default, draft.call(aten.transpose.int, mixed, 1, 2), [3, 5, 32])


@every_backend_off
@pytest.mark.parametrize("kind", ["by_rows", "static", "floats"])
def test_attention_becomes_one_product(monkeypatch, off, kind):
    monkeypatch.setenv(VARIABLE, off)
    torch.manual_seed(0)
    draft, x = QuantizedDraft(), torch.randn(3, 5, 32)
    given = draft.input("x", x)
    quantized = given if kind == "floats" else getattr(draft, kind)(given)
    module = draft.module(attention(draft, given, quantized))
    want, names = module(x), list(module.state_dict())
    module, context = apply(LOWER, module)
    dynamic = "linear_tokens" if available("native") else "linear_dynamic"
    name = {"by_rows": dynamic, "static": "linear_static", "floats": "linear_weight_only"}[kind]
    assert sum(name in operation for operation in operations(module)) == 1
    assert not any("dequantize" in operation for operation in operations(module))
    assert {**context.statistics, "attentions": 0} == {"layers": 3, "products": 1, "attentions": 0, "left": 0}
    assert context.statistics["attentions"] == available("native")
    assert near(module(x), want)
    assert list(module.state_dict()) == names
    assert bool(off) == any("switched off" in note for note in context.notes)
    (made,) = context.details["lowered"].values()
    assert made["backend"] not in off.split(",")
    assert made["layers"] == ["linear", "linear_1", "linear_2"]


@every_backend_off
@pytest.mark.parametrize("kind", ["by_rows", "static"])
def test_a_single_row(monkeypatch, off, kind):
    monkeypatch.setenv(VARIABLE, off)
    torch.manual_seed(0)
    draft, x = QuantizedDraft(), torch.randn(1, 40)
    module = draft.module(draft.linear(getattr(draft, kind)(draft.input("x", x)), "fc", 24, 40))
    want = module(x)
    module, context = apply(LOWER, module)
    assert near(module(x), want)
    assert context.statistics["layers"] == 1


@every_backend_off
@pytest.mark.parametrize("post", ["relu", "gelu", "gelu_tanh", "none"])
def test_bytes_flow_from_layer_to_layer(monkeypatch, off, post):
    monkeypatch.setenv(VARIABLE, off)
    torch.manual_seed(0)
    draft, x = QuantizedDraft(), torch.randn(2, 7, 16)
    hidden = draft.linear(draft.static(draft.input("x", x)), "up", 48, 16)
    if post == "relu":
        hidden = draft.call(aten.relu.default, hidden)
    elif post != "none":
        hidden = draft.call(aten.gelu.default, hidden, approximate="tanh" if post == "gelu_tanh" else "none")
    module = draft.module(draft.linear(draft.static(hidden, 0.05, 17), "down", 16, 48))
    want = module(x)
    module, context = apply(LOWER, module)
    assert operations(module) == ["fxcompress.quantize_u8", "fxcompress.linear_static", "fxcompress.linear_static"]
    assert context.statistics == {"layers": 2, "products": 2, "attentions": 0, "left": 0}
    assert near(module(x), want, 5e-3)


def test_a_value_that_is_read_elsewhere_too_is_not_fused():
    torch.manual_seed(0)
    draft, x = QuantizedDraft(), torch.randn(2, 16)
    hidden = draft.linear(draft.static(draft.input("x", x)), "up", 16, 16)
    quantized = draft.static(draft.call(aten.relu.default, hidden), 0.05, 0)
    module = draft.module(draft.call(aten.add.Tensor, draft.linear(quantized, "down", 16, 16), hidden))
    want = module(x)
    module, _ = apply(LOWER, module)
    assert "relu" in operations(module)
    assert near(module(x), want, 5e-3)


@every_backend_off
def test_convolutions(monkeypatch, off):
    monkeypatch.setenv(VARIABLE, off)
    torch.manual_seed(0)
    draft, image = QuantizedDraft(), torch.randn(2, 4, 9, 9)
    x = draft.static(draft.input("x", image))
    x = draft.call(aten.conv2d.default, x, draft.weight("a", 8, 4, 3, 3), draft.bias("a", 8), [2, 2], [1, 1])
    x = draft.static(draft.call(aten.relu.default, x), 0.02, 0)
    side = draft.call(aten.conv2d.default, x, draft.weight("b", 8, 1, 3, 3), None, [1], [1], [1], 8)
    module = draft.module(draft.call(aten.add.Tensor, side, x))
    want = module(image)
    module, context = apply(LOWER, module)
    assert context.statistics == {"layers": 2, "products": 2, "attentions": 0, "left": 0}
    # The addition of bytes goes into the second one.
    assert operations(module) == ["fxcompress.quantize_u8", "fxcompress.conv_static", "fxcompress.conv_static"]
    assert near(module(image), want, 5e-3)


def test_groups_of_weights():
    torch.manual_seed(0)
    draft, x = QuantizedDraft(), torch.randn(3, 64)
    weight = draft.grouped_weight("fc", 12, 64, 32)
    module = draft.module(draft.call(aten.linear.default, draft.input("x", x), weight, draft.bias("fc", 12)))
    want = module(x)
    module, context = apply(LOWER, module)
    assert near(module(x), want, 1e-6)
    assert any("copy of the weights as floats" in note for note in context.notes)


def test_embeddings():
    torch.manual_seed(0)
    draft, ids = QuantizedDraft(), torch.randint(0, 20, (3, 4))
    module = draft.module(draft.call(aten.embedding.default, draft.weight("table", 20, 6), draft.input("ids", ids)))
    want = module(ids)
    module, _ = apply(LOWER, module)
    assert operations(module) == ["fxcompress.embedding_rows"]
    assert torch.equal(module(ids), want)


def test_it_keeps_the_contract_of_passes():
    fxc.testing.check_pass(Lower(measure=False))


def test_what_is_returned_keeps_its_own_memory():
    torch.manual_seed(0)
    draft, x = QuantizedDraft(), torch.randn(3, 16)
    quantized = draft.by_rows(draft.input("x", x))
    module = draft.module(*(draft.linear(quantized, name, 8, 16) for name in "ab"))
    want = module(x)
    module, context = apply(LOWER, module)
    assert context.statistics["products"] == 2
    for result, one in zip(module(x), want, strict=True):
        assert near(result, one)
        assert result.is_contiguous()


class Block(nn.Module):
    """Attention and a two-layer network, with residuals."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(32, 32, bias=name != "k") for name in "qkv")
        self.out, self.up, self.down = nn.Linear(32, 32), nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x):
        q, k, v = (one(x).view(x.shape[0], -1, 4, 8).transpose(1, 2) for one in (self.q, self.k, self.v))
        x = x + self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(nn.functional.gelu(self.up(x)))


def test_any_batch_saved_loaded_and_copied(tmp_path):
    torch.manual_seed(0)
    model, x = Block().eval(), torch.randn(2, 6, 32)
    quantized = fxc.compress(model, (x,), "quantize{scheme=w8a16}")
    result = fxc.compress(model, (x,), f"quantize{{scheme=w8a16}},{LOWER}")
    result.save(tmp_path / "block.fxc")
    loaded = fxc.load(tmp_path / "block.fxc").module
    buffer = io.BytesIO()
    torch.save(result.module.state_dict(), buffer)
    with torch.no_grad():
        for batch in (1, 2, 7):
            other = torch.randn(batch, 6, 32)
            want = quantized.module(other)
            for module in (result.module, loaded, copy.deepcopy(result.module)):
                assert near(module(other), want, 1e-3)
    assert result.module.state_dict().keys() == quantized.module.state_dict().keys()


def test_loaded_weights_count():
    torch.manual_seed(0)
    draft, x = QuantizedDraft(), torch.randn(2, 16)
    module = draft.module(draft.linear(draft.by_rows(draft.input("x", x)), "fc", 8, 16))
    module, _ = apply(LOWER, module)
    before = module(x)
    module.load_state_dict(
        {name: -tensor if "scale" in name else tensor for name, tensor in module.state_dict().items()}
    )
    bias = dict(module.named_parameters())["fc.bias"]
    assert near(module(x) - bias, -(before - bias), 1e-5)
