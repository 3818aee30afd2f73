"""`.pt2` files, loaded by another process that imports nothing but the operators."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import fxcompress as fxc
from targets.quantized_net import batch, compressed

PIPELINES = [
    "quantize",
    "quantize{scheme=w8a8}",
    "quantize{scheme=w8a8-static}",
    "quantize{scheme=w4a16 group=16}",
    "quantize, lower{measure=false}",
    "quantize{scheme=w8a8}, lower{measure=false}",
    "quantize{scheme=w8a8-static}, lower{measure=false}",
]
LOADING = """
import sys, torch, fxcompress.kernels
inputs = torch.load(sys.argv[2])
if sys.argv[3] == "compiled":
    module = torch._inductor.aoti_load_package(sys.argv[1])
else:
    module = torch.export.load(sys.argv[1]).module()
with torch.no_grad():
    torch.save([module(*one) for one in inputs], sys.argv[2])
"""


def elsewhere(path, inputs, how="plain"):
    """What the file gives in a process of its own."""
    passed = path.with_suffix(".pt")
    torch.save(inputs, passed)
    done = subprocess.run(
        [sys.executable, "-c", LOADING, path, passed, how], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return torch.load(passed)


def compare(result, found, inputs, tolerance):
    for one, got in zip(inputs, found, strict=True):
        with torch.no_grad():
            want = result.module(*one)
        assert list(got) == list(want)
        for name in want:
            assert torch.allclose(got[name], want[name], atol=tolerance), name


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_loads_where_the_operators_are(pipeline, tmp_path):
    result, inputs = compressed(pipeline), [batch(4), batch(7, 6)]
    result.save(tmp_path / "m.pt2")
    assert [one.name for one in tmp_path.iterdir()] == ["m.pt2"]
    compare(result, elsewhere(tmp_path / "m.pt2", inputs), inputs, 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_compiles_with_aotinductor(pipeline, tmp_path):
    result, inputs = compressed(pipeline), [batch(4), batch(7, 6)]
    result.save(tmp_path / "m.pt2", "pt2{compiled=true}")
    found = elsewhere(tmp_path / "m.pt2", inputs, "compiled")
    # Where floats differ in the last bit, some are rounded to the next step.
    compare(result, found, inputs, 0.05)


def test_what_does_not_compile_is_said_and_nothing_written(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("no compiler\nat all")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", refuse)
    with pytest.raises(fxc.ExportError, match="RuntimeError: no compiler"):
        compressed("quantize").save(tmp_path / "m.pt2", "pt2{compiled=true}")
    assert not list(tmp_path.iterdir())
