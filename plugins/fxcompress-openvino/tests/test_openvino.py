"""The target, with the graph of quantize and dequantize nodes run by PyTorch as the witness."""

import fxcompress_openvino
import pytest
import torch
from fxcompress_openvino import OpenVino, load
from torch import nn

import fxcompress as fxc


class Net(nn.Module):
    """A convolution, a residual sum, attention, linears, and two results."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.body = nn.Conv2d(16, 16, 3, padding=1)
        self.qkv = nn.Linear(16, 48)
        self.head = nn.Linear(16, 8)

    def forward(self, image):
        x = torch.relu(self.stem(image))
        x = torch.relu(x + self.body(x)).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(x).chunk(3, -1)
        x = nn.functional.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return {"tokens": x, "logits": self.head(x.mean(1))}


PIPELINES = [
    "quantize",
    "quantize{scheme=w8a8}",
    "quantize{scheme=w8a8-static sums=true}",
    "quantize{scheme=w4a16 group=16}",
]


def plugins():
    made = fxc.Plugins(autoload=False)
    made.register(fxcompress_openvino, "openvino")
    return made


def compressed(pipeline):
    net, images = Net().eval(), torch.randn(4, 3, 6, 6)
    calibration = [(torch.randn(4, 3, 6, 6),) for _ in range(4)]
    return fxc.compress(net, (images,), pipeline, calibration=calibration, plugins=plugins()), images


def test_the_target_is_registered():
    assert plugins().targets.get("openvino") is OpenVino
    assert plugins().suffixes.get(".xml") is OpenVino


def test_another_name_is_refused_before_anything_is_written(tmp_path):
    result, _ = compressed("quantize")
    with pytest.raises(fxc.FxcompressError, match=r"m\.xml"):
        result.save(tmp_path / "m.ir", "openvino")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    result, _ = compressed("quantize")
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(fxc.FxcompressError, match=r"fxcompress-openvino\[openvino\]"):
        result.save(tmp_path / "m.xml")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def _runtime():
    for name in ("openvino", "onnx", "onnxscript"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install 'fxcompress-openvino[openvino]'")


@pytest.mark.usefixtures("_runtime")
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_runtime_gives_what_the_graph_gives(pipeline, tmp_path):
    result, images = compressed(pipeline)
    result.save(tmp_path / "m.xml")
    assert {one.name for one in tmp_path.iterdir()} == {"m.xml", "m.bin"}
    loaded = load(tmp_path / "m.xml", precision="f32", threads=1)
    assert loaded.outputs == ["tokens", "logits"]
    for batch in (images, images[:1], torch.randn(7, 3, 6, 6)):
        with torch.no_grad():
            want, got = result.module(batch), loaded(batch)
        for name in want:
            assert sqnr(want[name], got[name]) > 30, (name, sqnr(want[name], got[name]))


@pytest.mark.usefixtures("_runtime")
def test_static_layers_are_calculated_in_integers(tmp_path):
    result, _ = compressed("quantize{scheme=w8a8-static sums=true}")
    result.save(tmp_path / "m.xml")
    import openvino

    compiled = openvino.Core().compile_model(str(tmp_path / "m.xml"), "CPU")
    layers = [
        (one.get_rt_info()["layerType"].astype(str), one.get_rt_info()["runtimePrecision"].astype(str))
        for one in compiled.get_runtime_model().get_ordered_ops()
    ]
    precisions = [precision for kind, precision in layers if kind in ("Convolution", "FullyConnected")]
    # The image is float32, and OpenVINO leaves a first convolution of three channels in floats where it is faster.
    assert precisions.count("u8") >= 3, layers


class Attention(nn.Module):
    """Attention that is spelled out in products."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(32, 96)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        return torch.softmax(q @ k.transpose(1, 2) / 32**0.5, -1) @ v


@pytest.mark.usefixtures("_runtime")
@pytest.mark.parametrize("products", [False, True])
def test_products_of_activations_are_multiplied_as_bytes(products, tmp_path):
    import openvino

    data = [torch.randn(3, 16, 32) for _ in range(4)]
    text = f"quantize{{scheme=w8a8-static products={str(products).lower()} observer=minmax}}"
    result = fxc.compress(Attention().eval(), (data[0],), text, calibration=data, plugins=plugins())
    result.save(tmp_path / "m.xml")
    made = openvino.Core().compile_model(str(tmp_path / "m.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    facts = [one.get_rt_info() for one in made.get_runtime_model().get_ordered_ops()]
    # Products, softmax and what is between them are one subgraph.
    found = [str(one["runtimePrecision"].astype(str)) for one in facts if one["layerType"].astype(str) == "Subgraph"]
    assert found == (["i8"] if products else ["f32"])
    with torch.no_grad():
        want = result.module(data[1])
    assert sqnr(want, load(tmp_path / "m.xml", precision="f32", threads=1)(data[1])) > 30


@pytest.mark.usefixtures("_runtime")
def test_what_is_called_wrongly_is_named(tmp_path):
    result, images = compressed("quantize")
    result.save(tmp_path / "m.xml")
    with pytest.raises(fxc.FxcompressError, match="takes: image"):
        load(tmp_path / "m.xml")(images, images)
    with pytest.raises(fxc.FxcompressError, match="does not load"):
        load(tmp_path / "none.xml")


def sqnr(want, got):
    """Decibels of `want` over what `got` differs by."""
    return float(20 * torch.log10(want.double().norm() / (want.double() - got.double()).norm().clamp(min=1e-30)))
