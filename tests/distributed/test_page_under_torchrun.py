"""The programs of the page on several processes, run by two."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from processes import HERE, free_port

import fxcompress as fxc

PAGE = HERE.parent.parent / "docs" / "distributed.md"


@pytest.mark.slow
def test_the_programs_of_the_page_run_in_two_processes(tmp_path):
    for name, text in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE.read_text(), re.S):
        (tmp_path / name).write_text(text)
    assert "2 at work, 2 passes" in torchrun(tmp_path, "job.py").splitlines()
    assert len(fxc.load(tmp_path / "job.fxc").pipeline)
    told = torchrun(tmp_path, "sharded.py")
    held, whole = map(int, re.findall(r"held (\d+) of (\d+) parameters", told)[0])
    assert told.count("held") == 1
    assert whole / 2 <= held <= 0.55 * whole


def torchrun(folder, name):
    env = os.environ | {"PYTHONPATH": str(HERE.parent.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", str(free_port()), name]
    ended = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout
