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
how, given, *paths = sys.argv[1:]
inputs, made = torch.load(given), []
for path in paths:
    if how == "compiled":
        module = torch._inductor.aoti_load_package(path)
    else:
        module = torch.export.load(path).module()
    with torch.no_grad():
        made.append([module(*one) for one in inputs])
torch.save(made, given)
"""


def elsewhere(paths, inputs, how):
    """What the files give in a process of its own."""
    passed = paths[0].with_name("passed.pt")
    torch.save(inputs, passed)
    command = [sys.executable, "-c", LOADING, how, passed, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return torch.load(passed)


def check(pipelines, folder, target, how, tolerance):
    inputs, results, paths = [batch(4), batch(7, 6)], [], []
    for place, pipeline in enumerate(pipelines):
        results.append(compressed(pipeline))
        paths.append(folder / f"m{place}.pt2")
        results[-1].save(paths[-1], target)
    assert sorted(folder.iterdir()) == paths
    for pipeline, result, found in zip(pipelines, results, elsewhere(paths, inputs, how), strict=True):
        for one, got in zip(inputs, found, strict=True):
            with torch.no_grad():
                want = result.module(*one)
            assert list(got) == list(want)
            for name in want:
                assert torch.allclose(got[name], want[name], atol=tolerance), (pipeline, name)


def test_files_load_where_the_operators_are(tmp_path):
    check(PIPELINES, tmp_path, None, "plain", 1e-6)


@pytest.mark.slow
def test_files_compile_with_aotinductor(tmp_path):
    # Where floats differ in the last bit, some are rounded to the next step.
    check(PIPELINES, tmp_path, "pt2{compiled=true}", "compiled", 0.05)


def test_what_does_not_compile_is_said_and_nothing_written(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError("no compiler\nat all")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", refuse)
    with pytest.raises(fxc.ExportError, match="RuntimeError: no compiler"):
        compressed("quantize").save(tmp_path / "m.pt2", "pt2{compiled=true}")
    assert not list(tmp_path.iterdir())
