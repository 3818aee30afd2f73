"""The native kernels: compiled once, kept, and where they cannot be, a reason."""

from __future__ import annotations

import subprocess

import pytest
import torch

from fxcompress.kernels import backends
from fxcompress.kernels.native import build

native = pytest.mark.skipif(isinstance(build.library(), str), reason=str(build.library()))


@pytest.fixture
def anew():
    backends.read_again()
    yield
    backends.read_again()


@native
def test_compiled_once(anew, tmp_path, monkeypatch):
    monkeypatch.setenv(build.CACHE, str(tmp_path / "kept"))
    made = build.built()
    assert made.parent == tmp_path / "kept"
    assert [path.name for path in made.parent.iterdir()] == [made.name]
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: pytest.fail("compiled again"))
    assert build.built() == made


@native
def test_without_a_compiler(anew, tmp_path, monkeypatch):
    monkeypatch.setenv(build.CACHE, str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not backends.available("native")
    assert "no C++ compiler (no-such-compiler" in backends.why_missing("native")
    assert backends.first_available("native", ("native", "float")) == "float"


@native
def test_a_compiler_that_fails_leaves_nothing(anew, tmp_path, monkeypatch):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho first >&2\necho error: out of luck >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv(build.CACHE, str(tmp_path / "kept"))
    monkeypatch.setenv("CXX", str(broken))
    assert backends.why_missing("native").endswith("fails: error: out of luck")
    assert list((tmp_path / "kept").iterdir()) == []


def test_another_processor(anew, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert not backends.available("native")
    assert backends.why_missing("native") != ""


def test_switched_off(anew, monkeypatch):
    monkeypatch.setenv(backends.VARIABLE, "native")
    assert not backends.available("native")
    assert backends.why_missing("native") == "switched off by FXCOMPRESS_WITHOUT"
