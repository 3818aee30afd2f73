"""The parts of the benchmark on a GPU that the CPU can run: floors by hand, records by a clock that is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
# An H100: what was measured of it, and 8 bits by its data sheet.
H100 = (3.0e12, 800e12, 1979e12)


@pytest.fixture(autouse=True)
def _beside_the_script(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


class Clock:
    """Calls each once, and says 10 microseconds for the first, 5 for all that come later."""

    def __init__(self):
        self.asked = []

    def microseconds(self, calls):
        for call in calls:
            call()
        self.asked.append(len(calls))
        return 10.0 if len(self.asked) == 1 else 5.0


@pytest.mark.parametrize(
    ("k", "n", "m", "bits", "kept", "eight", "want"),
    [
        (4096, 4096, 1, 16, 1, False, 11.2),
        (4096, 4096, 1, 8, 1, False, 5.6),
        (4096, 4096, 1, 4 + 16 / 128, 1, False, 2.9),
        (4096, 11008, 16, 16, 1, False, 30.2),
        (8192, 28672, 1, 8, 1, False, 78),
        (8192, 28672, 64, 4 + 16 / 128, 1, False, 41.9),
        (8192, 28672, 256, 8, 1, True, 84),
        (8192, 28672, 4096, 16, 1, False, 2405),
        (8192, 28672, 4096, 8, 1, True, 972),
        (8192, 28672, 4096, 16, 0.2, False, 481),
        (8192, 28672, 1, 16, 0.1, False, 15.7),
    ],
)
def test_floors(k, n, m, bits, kept, eight, want):
    from on_gpu.floors import Rates, Work

    assert Work(m, n, k, bits, kept, eight).floor(Rates(*H100)) == pytest.approx(want, rel=0.03)


def test_linears_are_right_and_recorded():
    from on_gpu.contenders import contenders
    from on_gpu.floors import Rates
    from on_gpu.measuring import linears

    clock = Clock()
    found = list(linears([(128, 256)], [1, 3], contenders, clock, Rates(*H100), "cpu"))
    names = ["cublas bf16", "w8a16", "w4a16", "w8a8", "fp8", "block-sparse 80%", "block-sparse 90%"]
    assert [(each["m"], each["kernel"]) for each in found] == [(m, name) for m in (1, 3) for name in names]
    assert set(clock.asked) == {4}
    assert (found[0]["microseconds"], found[0]["over_cublas"]) == (10, 1)
    assert (found[1]["microseconds"], found[1]["over_cublas"]) == (5, 2)
    for each in found:
        assert each["fraction"] == pytest.approx(each["floor"] / each["microseconds"], abs=1e-3)
        assert each["error"] < 0.06


def test_what_is_wrong_or_does_not_run_is_not_measured():
    from on_gpu.contenders import Contender, Linear, dense
    from on_gpu.floors import Rates, Work
    from on_gpu.measuring import measured

    def wrong(n, k, device):
        linear = dense(n, k, device)
        return Linear(lambda x: linear.run(x) * 1.1, linear.wide)

    def missing(n, k, device):
        raise ImportError("no such package")

    clock = Clock()
    for make, words in ((wrong, "wrong"), (missing, "no such package")):
        record = measured(Contender("x", Work(2, 64, 64), make), clock, Rates(*H100), "cpu")
        assert words in record["failed"]
        assert "microseconds" not in record
    assert not clock.asked


def test_peers_that_are_not_there_are_named():
    from on_gpu.floors import Rates
    from on_gpu.measuring import measured
    from on_gpu.peers import peers

    gemlite = next(each for each in peers(1, 128, 128) if each.name.startswith("gemlite"))
    pytest.importorskip("triton")
    record = measured(gemlite, Clock(), Rates(*H100), "cpu")
    assert "failed" in record


def test_decoders():
    from on_gpu.decoder import SCHEMES, Decoder, Sizes
    from on_gpu.measuring import decoders

    sizes = Sizes(layers=2, width=256, hidden=384, heads=4, context=5)
    for scheme in SCHEMES:
        made = Decoder(sizes, scheme, 3, "cpu")(torch.randn(3, 256, dtype=torch.bfloat16))
        assert made.shape == (3, 256)
        assert made.isfinite().all()
    found = list(decoders([1, 2], sizes, Clock(), "cpu"))
    assert [each["scheme"] for each in found] == [*SCHEMES, *SCHEMES]
    assert [each["over_bf16"] for each in found[:2]] == [1, 2]


def test_the_decoder_is_what_plain_torch_calculates():
    from on_gpu.decoder import Decoder, Sizes

    sizes = Sizes(layers=1, width=64, hidden=96, heads=2, context=4)
    decoder = Decoder(sizes, "bf16", 2, "cpu")
    layer = decoder.layers[0]
    x = torch.randn(2, 64, dtype=torch.bfloat16)
    wide = x.float()

    def normed(values):
        return values / (values.square().mean(-1, True) + 1e-5).sqrt() / 8

    def through(apply, values):
        return apply(values.to(torch.bfloat16)).float()

    query, key, value = (part.view(2, 2, 1, 32) for part in through(layer.qkv, normed(wide)).chunk(3, -1))
    keys = torch.cat([layer.keys.float()[:, :, 1:], key], 2)
    values = torch.cat([layer.values.float()[:, :, 1:], value], 2)
    weights = torch.softmax(query @ keys.mT / 32**0.5, -1)
    wide = wide + through(layer.out, (weights @ values).flatten(1))
    gate, up = through(layer.gate_up, normed(wide)).chunk(2, -1)
    wide = wide + through(layer.down, gate * torch.sigmoid(gate) * up)
    assert (decoder(x).float() - wide).abs().max() < 0.03 * wide.abs().max()
