"""Runs the checks of Triton kernels, `interpreted_*.py` in this folder, in Triton's interpreter.

The interpreter is chosen when a kernel is defined, for the whole process, so each file gets a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

HERE = Path(__file__).parent
FILES = sorted(path.name for path in HERE.glob("interpreted_*.py"))


@pytest.mark.parametrize("name", FILES)
def test_in_the_interpreter(name, request):
    slow = ["--slow"] if request.config.getoption("--slow") else []
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *slow, HERE / name]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=HERE)
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
