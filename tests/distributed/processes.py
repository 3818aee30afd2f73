"""Processes that are joined by gloo, as torchrun would start them, and what each of them came to."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
# Enough for a crowded machine; what hangs ends by then.
SECONDS = float(os.environ.get("TEST_SECONDS", "120"))


@dataclass(frozen=True)
class Ended:
    """How one process ended."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    found: Any


def environment(count: int, rank: int, port: int) -> dict[str, str]:
    root = HERE.parent.parent
    path = os.pathsep.join([str(root), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    return {**os.environ, **{name: str(number) for name, number in numbers.items()}} | {
        "MASTER_ADDR": "127.0.0.1",
        "PYTHONPATH": path,
    }


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def run_ranks(count: int, job: str, folder: Path, *words: str, seconds: float = SECONDS) -> list[Ended]:
    """Run `jobs.py JOB` in `count` processes; none of them outlives the test."""
    port, started = free_port(), time.monotonic()
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(HERE / "jobs.py"), job, str(folder), *words]
    running = []
    for rank in range(count):
        files = [open(folder / f"{rank}.{name}", "w+") for name in ("out", "err")]  # noqa: SIM115
        env = environment(count, rank, port)
        running.append((subprocess.Popen(command, stdout=files[0], stderr=files[1], env=env), files))
    try:
        return [_ended(*one, rank, folder, started, seconds) for rank, one in enumerate(running)]
    finally:
        for process, files in running:
            process.kill()
            process.wait()
            for file in files:
                file.close()


def _ended(process: subprocess.Popen, files: list, rank: int, folder: Path, started: float, seconds: float) -> Ended:
    code = process.wait(max(0.1, started + seconds - time.monotonic()))
    took = time.monotonic() - started
    path = folder / f"{rank}.pt"
    found = torch.load(path, weights_only=False) if path.exists() else None
    out, err = (Path(file.name).read_text() for file in files)
    return Ended(code, out, err, took, found)


def found_of(ended: list[Ended]) -> list[Any]:
    """Return what every process found, all of which must have come to their end."""
    for rank, one in enumerate(ended):
        assert one.code == 0, f"rank {rank}: {one.stderr[-3000:]}"
    return [one.found for one in ended]
