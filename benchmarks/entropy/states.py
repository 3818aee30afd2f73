"""Saves or loads a model of so many bytes in a process of its own, and prints seconds and memory as JSON.

python -m entropy.states save FILE CODING MEGABYTES
python -m entropy.states load FILE
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fxcompress.capturing import capture
from fxcompress.targets import load_artifact, save_artifact

SIZE = 2048


def main() -> None:
    torch.set_num_threads(1)
    warm_up()
    what, path = sys.argv[1], Path(sys.argv[2])
    print(json.dumps(save(path, sys.argv[3], int(sys.argv[4])) if what == "save" else load(path)))


def warm_up() -> None:
    """Save and load a small model, so that what is imported and cached by that is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        for coding in ("none", "auto"):
            save_artifact(
                f"{folder}/small.fxc", capture(nn.Linear(99, 99), (torch.zeros(1, 99),)).module, coding=coding
            )
            load_artifact(f"{folder}/small.fxc")


def resident() -> int:
    """Return the bytes of memory that the process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def forget_peak() -> None:
    """Let the peak begin anew at what the process has now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Return the most bytes of memory that the process had since `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def measured(before: int, state: int, begin: tuple[float, float], size: int) -> dict[str, Any]:
    return {
        "state_bytes": state,
        "file_bytes": size,
        "peak_to_state": (peak() - before) / state,
        "cpu_seconds": time.process_time() - begin[0],
        "wall_seconds": time.perf_counter() - begin[1],
    }


def save(path: Path, coding: str, megabytes: int) -> dict[str, Any]:
    before = resident()
    layers = max(1, round(megabytes * 1e6 / (4 * SIZE * SIZE)))
    model = nn.Sequential(*(nn.Linear(SIZE, SIZE) for _ in range(layers))).eval()
    module = capture(model, (torch.zeros(1, SIZE),)).module
    state = sum(tensor.nbytes for tensor in module.state_dict().values())
    del model  # which the capture copied
    gc.collect()
    forget_peak()
    begin = time.process_time(), time.perf_counter()
    save_artifact(path, module, coding=coding)
    return measured(before, state, begin, path.stat().st_size)


def load(path: Path) -> dict[str, Any]:
    forget_peak()
    before, begin = resident(), (time.process_time(), time.perf_counter())
    module = load_artifact(path).module
    state = sum(tensor.nbytes for tensor in module.state_dict().values())
    return measured(before, state, begin, path.stat().st_size)


if __name__ == "__main__":
    main()
