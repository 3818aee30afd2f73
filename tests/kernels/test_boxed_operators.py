"""The operators in C++ beside those in Python, which they take precedence over: the same results, and nothing stale."""

from __future__ import annotations

import copy
import ctypes
import gc
import threading

import pytest
import torch
from kernel_cases import close, layer, operands

from fxcompress.kernels import backends
from fxcompress.kernels.native import build, operators
from fxcompress.kernels.packing import _made

ops = torch.ops.fxcompress
compiled = not isinstance(build.library(), str) and not isinstance(operators.library(), str)
pytestmark = pytest.mark.skipif(not compiled, reason="no operators in C++ here")


@pytest.fixture(autouse=True)
def asked_anew():
    backends.read_again()
    assert backends.available("native")
    yield
    backends.read_again()


@pytest.fixture
def in_python():
    """Calls of a function with the implementations in Python."""

    def call(function, *arguments):
        operators.use(False)
        try:
            return function(*arguments)
        finally:
            operators.use(True)

    return call


def tensors(result):
    return [result] if isinstance(result, torch.Tensor) else list(result)


def cases():
    torch.manual_seed(0)
    layers, values = [layer(40, 32), layer(7, 32, False)], torch.randn(2, 5, 32)
    packed = operands(layers)
    tokens = ops.finish_rows(values, "none", None, "none", None, None, 0.0, ["tokens"], "native")
    behind = ("gelu", torch.randn(2, 5, 47), "layer", torch.rand(47), None, 1e-5, ["sum", "out", "tokens"], "native")
    rounded = ops.quantize_u8(values, 0.03, 100)
    nibbles, by_four = torch.randint(-8, 8, (40, 32), dtype=torch.int8), torch.rand(40, 4) / 9
    shifts, rare = torch.randint(-3, 3, (40, 4)), torch.randn(40, 32) * (torch.rand(40, 32) > 0.9)
    query, key = torch.randn(2, 4, 5, 8), torch.randn(2, 2, 6, 8)
    image, kernel = torch.randint(0, 256, (2, 8, 9, 7)).byte(), torch.randint(-127, 128, (20, 8, 3, 3)).char()
    grouped = torch.randint(-127, 128, (16, 4, 3, 3)).char()
    added, last = torch.randint(0, 256, (2, 20, 5, 7)).byte(), {"memory_format": torch.channels_last}
    steps, plane = torch.rand(20) / 100, torch.randint(-127, 128, (20, 3, 2, 2)).char()
    places, simple = ([2, 1], [1, 1], [1, 1], 1), ("none", None, 0.0, 0, "none")
    return {
        "dynamic": (ops.linear_dynamic, values, *packed, "native"),
        "dynamic, one row": (ops.linear_dynamic, values[0, 0], *packed, "native"),
        "dynamic, apart": (ops.linear_dynamic, values.transpose(0, 1), *packed, "native"),
        "static": (ops.linear_static, rounded, 0.03, 100, *packed, "silu", None, 0, "native"),
        "static to bytes": (ops.linear_static, rounded, 0.03, 100, *packed, "relu", 0.5, 3, "native"),
        "tokens": (ops.linear_tokens, *tokens, *packed, *behind),
        "rows": (ops.finish_rows, values, "relu", values.flip(0), "rms", None, None, 1e-6, ["out", "tokens"], "native"),
        "weight-only": (ops.linear_weight_only, values, *packed, "float"),
        "weight-only, no bias": (ops.linear_weight_only, values, *operands(layers[1:]), "float"),
        "embedding": (ops.embedding_rows, torch.tensor([[0, 39], [5, 5]]), layers[0].weight, layers[0].scales),
        "embedding, int32": (ops.embedding_rows, torch.tensor([6, 0]).int(), layers[1].weight, layers[1].scales),
        "quantize": (ops.quantize_u8, values, 0.01, 7),
        "quantize, apart": (ops.quantize_u8, values.transpose(1, 2), 0.01, 128),
        "quantize, gaps": (ops.quantize_u8, values[..., ::2], 0.01, 128),
        "attention": (ops.attention, query, key, key.flip(0), None, False, 0.4, "native"),
        "attention, masked": (ops.attention, query, key, key, torch.randn(1, 1, 5, 6), False, 0.4, "native"),
        "convolution": (ops.conv_static, image, 0.1, 9, kernel, steps, None, *places, *simple, None, 0, "native"),
        "convolution of bytes": (
            *(ops.conv_static, image.contiguous(**last), 0.1, 9, kernel, steps, torch.randn(20), *places),
            *("relu", added, 0.2, 11, "silu", 0.3, 100, "native"),
        ),
        "convolution with floats behind": (
            *(ops.conv_static, image[:, :, ::1], 0.1, 9, kernel, steps, torch.randn(20), *places),
            *("relu", torch.randn(2, 20, 5, 7), 0.0, 0, "none", 0.3, 100, "native"),
        ),
        "convolution of planes": (
            *(ops.conv_static, image[:, :3], 0.1, 9, plane, steps, None, [1, 1], [0, 2], [2, 1], 1, *simple),
            *(None, 0, "native"),
        ),
        "convolution in groups": (
            *(ops.conv_static, image, 0.1, 9, grouped, steps[:16], None, [1, 1], [1, 1], [1, 2], 2, *simple),
            *(None, 0, "native"),
        ),
        "convolution of small groups": (
            *(ops.conv_static, image, 0.1, 9, kernel[:8, :1], steps[:8], None, [1, 1], [1, 1], [1, 1], 8, *simple),
            *(0.7, 0, "native"),
        ),
        "images": (ops.round_images, torch.randn(2, 8, 9, 7), "native"),
        "images, last": (ops.round_images, torch.randn(2, 8, 9, 7).contiguous(**last), "native"),
        "images of planes": (ops.round_images, torch.randn(2, 3, 9, 7), "native"),
        "images of a length": (ops.round_images, torch.randn(2, 8, 9), "native"),
        "dynamic convolution": (
            *(ops.conv_dynamic, image, torch.rand(2), torch.tensor([3, 200]).int(), kernel, steps, None, *places),
            *("relu", torch.randn(2, 20, 5, 7), 0.0, 0, "none", None, 0, "native"),
        ),
        "dynamic convolution, one stride": (
            *(ops.conv_dynamic, image, torch.rand(2), torch.tensor([3, 200]).int(), kernel, steps, torch.randn(20)),
            *([2], [1], [1], 1, *simple, 0.7, 9, "native"),
        ),
        "pooling": (ops.max_pool_u8, image, [3, 2], [2, 1], [1, 1], [1, 2]),
        "pooling, last": (ops.max_pool_u8, image.contiguous(**last), [2, 2], [2, 2], [0, 0], [1, 1]),
        "groups": (ops.linear_groups, values, nibbles, by_four, shifts, 8, layers[0].bias, "native"),
        "groups of 8 bits": (ops.linear_groups, values, layers[0].weight, by_four, None, 8, None, "native"),
        "panels": (ops.linear_sparse, values, rare, layers[0].bias, "panels"),
        "rows of a sparse weight": (ops.linear_sparse, values, rare, None, "rows"),
        "held": (ops.held_channels, layers[0].weight, layers[0].scales, None, 0),
    }


@pytest.mark.parametrize("name", cases())
def test_the_same_as_in_python(name, in_python):
    function, *arguments = cases()[name]
    want, have = tensors(in_python(function, *arguments)), tensors(function(*arguments))
    again = tensors(function(*arguments))
    assert len(want) == len(have)
    for one, other, last in zip(want, have, again, strict=True):
        assert (one.dtype, one.shape, one.stride()) == (other.dtype, other.shape, other.stride())
        torch.testing.assert_close(other, one, rtol=1e-6, atol=1e-6)
        assert torch.equal(other, last)


@pytest.mark.parametrize("written", ["weight", "scales", "bias"])
@pytest.mark.parametrize("call", [ops.linear_dynamic, ops.linear_weight_only])
def test_what_is_written_into_is_seen(call, written):
    backend = "native" if call is ops.linear_dynamic else "float"
    one, values = layer(16, 12), torch.randn(3, 12)

    def right():
        return close(call(values, *operands([one]), backend), one(values), values, [one], 0.02)

    assert right()
    assert right()
    target = getattr(one, written)
    target.mul_(-1)
    assert right()
    target.data = target.clone() + 1
    assert right()
    setattr(one, written, target.clone() - 1)
    assert right()


def test_held_floats_follow_their_integers():
    weight, scales = torch.randint(-9, 9, (4, 6), dtype=torch.int8), torch.rand(4)
    first = ops.held_channels(weight, scales, None, 0)
    assert ops.held_channels(weight, scales, None, 0) is first
    other = copy.deepcopy(weight)
    assert ops.held_channels(other, scales, None, 0) is not first
    scales.mul_(2)
    torch.testing.assert_close(ops.held_channels(weight, scales, None, 0), weight * scales[:, None])
    torch.testing.assert_close(ops.held_tensor(weight, 0.5, 1), (weight - 1) * 0.5)
    torch.testing.assert_close(ops.held_tensor(weight, 0.5, 2), (weight - 2) * 0.5)
    torch.testing.assert_close(ops.held_product(weight, scales[:, None]), weight * scales[:, None])
    assert torch.equal(ops.held_transposed(weight), weight.t())


@pytest.mark.parametrize("form", ["panels", "rows"])
def test_sparse_weights_follow_what_is_written(form):
    weight, bias, values = torch.randn(40, 24) * (torch.rand(40, 24) > 0.8), torch.randn(40), torch.randn(3, 24)
    for _ in range(3):
        want = torch.nn.functional.linear(values.double(), weight.double(), bias.double()).float()
        torch.testing.assert_close(ops.linear_sparse(values, weight, bias, form), want)
        other = "rows" if form == "panels" else "panels"
        torch.testing.assert_close(ops.linear_sparse(values, weight, bias, other), want)
        weight.mul_(-2)
        bias.add_(1)


def test_two_lists_are_not_one():
    """Weights that are grouped otherwise among the same lists are other layers."""
    one, two, values = layer(16, 8), layer(16, 8), torch.randn(2, 8)
    both = ops.linear_dynamic(values, *operands([one, two]), "native")
    alone = ops.linear_dynamic(values, *operands([one]), "native")
    assert (both.shape[1], alone.shape[1]) == (32, 16)
    assert torch.equal(both[:, :16], alone)
    turned = ops.linear_dynamic(values, *operands([two, one]), "native")
    assert torch.equal(turned[:, 16:], alone)


def test_nothing_outlives_the_weights():
    one, values = layer(64, 64), torch.randn(2, 64)
    ops.linear_dynamic(values, *operands([one]), "native")
    place = id(one.weight)
    assert place in _made
    del one
    gc.collect()
    assert place not in _made


def test_what_python_has_dropped_is_made_anew():
    one, values = layer(16, 8), torch.randn(2, 8)
    want = ops.linear_dynamic(values, *operands([one]), "native")
    _made.clear()
    gc.collect()
    assert torch.equal(ops.linear_dynamic(values, *operands([one]), "native"), want)


def test_weights_of_inference_mode():
    with torch.inference_mode():
        one, values = layer(16, 12), torch.randn(3, 12)
        for _ in range(2):
            made = ops.linear_dynamic(values, *operands([one]), "native")
            assert close(made, one(values), values, [one], 0.02)


def test_switched_off(monkeypatch):
    monkeypatch.setenv(backends.VARIABLE, "native")
    backends.read_again()
    calls = []
    monkeypatch.setattr("fxcompress.kernels.linear.native.linear", lambda *given: calls.append(given))
    one, values = layer(16, 12), torch.randn(3, 12)
    assert close(ops.linear_dynamic(values, *operands([one]), "native"), one(values), values, [one], 0.02)
    assert calls == []


@pytest.mark.parametrize("broken", ["index", "post"])
def test_what_they_do_not_serve_python_refuses(broken):
    one = layer(16, 12)
    calls = {
        "index": lambda: ops.embedding_rows(torch.tensor([16]), one.weight, one.scales),
        "post": lambda: ops.finish_rows(torch.rand(2, 4), "no", None, "none", None, None, 0.0, ["out"], "native"),
    }
    with pytest.raises((RuntimeError, IndexError, KeyError)):
        calls[broken]()


def test_tensors_elsewhere_are_refused():
    weight = torch.zeros(4, 4, dtype=torch.int8)
    with pytest.raises(NotImplementedError, match="held_transposed is an operator of the CPU"):
        ops.held_transposed.default.redispatch(torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA), weight.to("meta"))


def test_from_several_threads():
    layers = [layer(32, 16) for _ in range(8)]
    values, failed = torch.randn(4, 16), []

    def call():
        for _ in range(40):
            for one in layers:
                made = ops.linear_dynamic(values, *operands([one]), "native")
                if not close(made, one(values), values, [one], 0.02):
                    failed.append(one)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failed == []


def test_headers_that_do_not_compile_leave_python(monkeypatch, tmp_path):
    monkeypatch.setenv(build.CACHE, str(tmp_path / "kept"))
    monkeypatch.setattr(operators, "FLAGS", (*operators.FLAGS, "-include/no/such/file"))
    found = operators.library.__wrapped__()
    assert not isinstance(found, ctypes.CDLL)
    assert "fails" in found
