"""ONNX files, run by ONNX Runtime; the witness is the graph of quantize and dequantize nodes, run by PyTorch."""

from __future__ import annotations

import functools

import pytest
import torch

import fxcompress as fxc
from fxcompress.targets.onnx.rewriting import rewritten
from targets.quantized_net import batch, compressed, sqnr

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'fxcompress[onnx]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'fxcompress[onnx]'")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

STATIC = "quantize{scheme=w8a8-static sums=true}"
# What ONNX Runtime makes of the layers, and how far its kernels may be off: they round activations of w?a16 to 8 bits.
CASES = {
    "eliminate-dead-nodes": ((), 100),
    "quantize": (("MatMulNBits",), 35),
    "quantize{scheme=w8a8}": (("MatMulIntegerToFloat",), 40),
    STATIC: (("QLinearConv", "MatMulIntegerToFloat", "QGemm"), 30),
    "quantize{scheme=w4a16 group=16}": (("MatMulNBits",), 35),
    "quantize{scheme=w4a16 granularity=channel}": (("MatMulNBits",), 35),
    "quantize{scheme=w8a16 granularity=tensor}": ((), 35),
}


@functools.cache
def saved(pipeline, folder, target=None):
    """The result of a pipeline and the file of it."""
    result = compressed(pipeline)
    path = folder / f"m{abs(hash((pipeline, target)))}.onnx"
    result.save(path, target)
    return result, path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("onnx")


def session(path, fused=True, optimized=None):
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    level = runtime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if fused else level.ORT_DISABLE_ALL
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def outputs(running, ids, mask):
    names = [one.name for one in running.get_outputs()]
    made = running.run(None, {"ids": ids.numpy(), "mask": mask.numpy()})
    return {name: torch.from_numpy(array) for name, array in zip(names, made, strict=True)}


@pytest.mark.parametrize("fused", [False, True], ids=["as it is", "fused"])
@pytest.mark.parametrize("pipeline", CASES)
def test_the_runtime_gives_what_the_graph_gives(pipeline, fused, folder):
    result, path = saved(pipeline, folder)
    running = session(path, fused)
    for inputs in (batch(4), batch(1, 5), batch(7, 6)):
        with torch.no_grad():
            want = result.module(*inputs)
        got = outputs(running, *inputs)
        assert list(got) == ["tokens", "logits"]
        for name in want:
            assert sqnr(want[name], got[name]) > (CASES[pipeline][1] if fused else 40), name


@pytest.mark.parametrize("pipeline", CASES)
def test_the_runtime_fuses_the_quantized_layers(pipeline, folder, tmp_path):
    _, path = saved(pipeline, folder)
    session(path, optimized=tmp_path / "optimized.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    for kind in CASES[pipeline][0]:
        assert kind in kinds, kinds


def test_every_static_layer_is_fused(folder, tmp_path):
    """Two convolutions; the products of three linears of tokens; two linears of rows."""
    _, path = saved(STATIC, folder)
    session(path, optimized=tmp_path / "optimized.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    counted = {kind: kinds.count(kind) for kind in ("QLinearConv", "MatMulIntegerToFloat", "QGemm", "Conv", "Gemm")}
    assert counted == {"QLinearConv": 2, "MatMulIntegerToFloat": 3, "QGemm": 2, "Conv": 0, "Gemm": 0}


@pytest.mark.parametrize("pipeline", CASES)
def test_the_rewritten_graph_is_the_graph(pipeline):
    """Before anything of ONNX is in it; int32 biases are half a step of a sum off at most."""
    result = compressed(pipeline)
    made = rewritten(result.module, "token").module
    with torch.no_grad():
        want, got = result.module(*batch(5)), made(*batch(5))
    for name in want:
        assert sqnr(want[name], got[name]) > 40, name


def test_one_range_for_a_whole_tensor(folder, tmp_path):
    result, path = saved("quantize{scheme=w8a8}", folder, "onnx{dynamic=tensor}")
    running = session(path, optimized=tmp_path / "optimized.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert {"DynamicQuantizeLinear", "DynamicQuantizeMatMul"} & set(kinds)
    with torch.no_grad():
        original = result.captured.module(*batch(6))["tokens"]
    got = outputs(running, *batch(6))["tokens"]
    assert 20 < sqnr(original, got) < sqnr(original, result.module(*batch(6))["tokens"].detach())


class Images(torch.nn.Module):
    """Convolutions of one and two axes, by groups, with a step, turned around, and of an image without a batch."""

    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.Conv2d(8, 12, 3, groups=2, dilation=2)
        self.c, self.d = torch.nn.ConvTranspose2d(12, 4, 2), torch.nn.Conv1d(4, 6, 3, padding=1, bias=False)

    def forward(self, x):
        x = torch.relu(self.b(torch.relu(self.a(x))))
        return self.d(self.c(x).flatten(2))


@pytest.mark.parametrize("dynamic", ["token", "tensor"])
def test_images_that_are_rounded_by_their_own_ranges(dynamic, tmp_path):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 20, 20)
    result = fxc.compress(Images().eval(), (x,), "quantize{scheme=w8a8}")
    result.save(tmp_path / "m.onnx", f"onnx{{dynamic={dynamic}}}")
    session(tmp_path / "m.onnx", optimized=tmp_path / "optimized.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kinds.count("ConvInteger") == (3 if dynamic == "tensor" else 0)
    for images in (x[:1], torch.randn(5, 3, 20, 20)):
        got = torch.from_numpy(session(tmp_path / "m.onnx").run(None, {"x": images.numpy()})[0])
        with torch.no_grad():
            # One range for all images of a batch is that of each where there is one.
            alone = dynamic == "token" or len(images) == 1
            assert sqnr(result.module(images), got) > (55 if alone else 25)


def test_biases_are_int32_in_steps_of_input_times_weight(folder):
    _, path = saved(STATIC, folder)
    model = onnx.load(path)
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    dequantized = {one.output[0]: one for one in model.graph.node if one.op_type == "DequantizeLinear"}
    convolutions = [one for one in model.graph.node if one.op_type == "Conv"]
    assert len(convolutions) == 2
    for node in convolutions:
        given, weight, bias = (dequantized[name] for name in node.input)
        assert stored[bias.input[0]].dtype == "int32"
        steps = stored[given.input[1]] * stored[weight.input[1]]
        assert abs(stored[bias.input[1]] / steps - 1).max() < 1e-6


def test_weights_of_4_bits_take_4_bits(folder):
    wide, narrow = (saved(one, folder)[1] for one in ("quantize", "quantize{scheme=w4a16 group=16}"))
    kinds = {one.data_type for one in onnx.load(narrow).graph.initializer}
    assert onnx.TensorProto.INT4 in kinds
    onnx.checker.check_model(str(narrow), full_check=True)
    assert onnx.TensorProto.INT4 not in {one.data_type for one in onnx.load(wide).graph.initializer}


def test_the_batch_stays_open_and_the_model_as_it_was(folder):
    result, path = saved("quantize", folder)
    sizes = [one.type.tensor_type.shape.dim[0] for one in onnx.load(path).graph.input]
    assert all(size.dim_param for size in sizes)
    before = str(result.module.graph)
    result.save(path.with_name("again.onnx"))
    assert str(result.module.graph) == before


def test_a_lowered_graph_is_refused_and_nothing_written(tmp_path):
    result = compressed("quantize, lower{measure=false}")
    with pytest.raises(fxc.ExportError, match="leave `lower` out"):
        result.save(tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_an_operator_without_a_form_is_named_and_nothing_written(tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.eigvalsh(x)

    result = fxc.compress(Odd(), (torch.eye(3).expand(2, 3, 3).clone(),), "eliminate-dead-nodes")
    with pytest.raises(fxc.ExportError, match="eigh"):
        result.save(tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    result = compressed("quantize")
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(fxc.FxcompressError, match=r"fxcompress\[onnx\]"):
        result.save(tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


class Attention(torch.nn.Module):
    """Attention that is spelled out in products."""

    def __init__(self):
        super().__init__()
        self.qkv = torch.nn.Linear(16, 48)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        return torch.softmax(q @ k.transpose(1, 2) / 4, -1) @ v


def test_products_of_activations_are_multiplied_in_integers(tmp_path):
    torch.manual_seed(0)
    data = [torch.randn(3, 8, 16) for _ in range(4)]
    text = "quantize{scheme=w8a8-static products=true observer=minmax}"
    result = fxc.compress(Attention().eval(), (data[0],), text, calibration=data)
    result.save(tmp_path / "m.onnx")
    running = session(tmp_path / "m.onnx", optimized=tmp_path / "optimized.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kinds.count("MatMul") == 0, kinds
    with torch.no_grad():
        want = result.module(data[1])
    assert sqnr(want, torch.from_numpy(running.run(None, {"x": data[1].numpy()})[0])) > 35
