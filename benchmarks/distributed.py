"""Two processes of one thread each against one process of two threads: seconds of calibration and of training.

    python benchmarks/distributed.py --json benchmarks/results/distributed.json

Each round starts both, in an order that alternates, and takes the seconds of the passes alone, without starting Python
and capturing; the figures are medians over the rounds. `ratio` is the time of two processes over that of one.
`difference` is the length of the difference between the tensors that both end with, as a share of their length.

The models are a residual network of convolutions and batch norms on 32x32 images and a transformer encoder on 64 tokens
of 256 numbers, both with random weights and data. Needs two cores that are free.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from measured import write_rows
from tabulate import tabulate
from torch import nn
from torch.nn import functional

import fxcompress as fxc
from fxcompress import distributed

TASKS = {
    "calibration": "quantize{scheme=w8a8-static}",
    "gptq": "quantize{scheme=w4a16 rounding=gptq samples=4096}",
    "fine-tuning": "finetune{optimizer=sgd lr=0.01}",
    "distillation": "distill{optimizer=sgd lr=0.01 losses=soft:0.9,hard:0.1}",
}
WAYS = {"one process, two threads": (1, 2), "two processes, one thread each": (2, 1)}


class Block(nn.Module):
    """Two convolutions beside a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.body(x))


def convolutions() -> nn.Module:
    """Return a network of 8 residual blocks for 32x32 images."""
    stem = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), *(Block(32) for _ in range(4)), nn.Conv2d(32, 64, 3, stride=2)]
    return nn.Sequential(*stem, nn.ReLU(), *(Block(64) for _ in range(4)), Mean((2, 3)), nn.Linear(64, 10))


def transformer() -> nn.Module:
    """Return an encoder of 4 layers."""
    layers = [
        nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True, norm_first=True) for _ in range(4)
    ]
    return nn.Sequential(*layers, Mean((1,)), nn.Linear(256, 10))


class Mean(nn.Module):
    """The mean over some axes."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(self.axes)


MODELS = {"convolutions": (convolutions, (3, 32, 32)), "transformer": (transformer, (64, 256))}


def work(folder: Path, batches: int, size: int) -> None:
    """Run every task on every model, as one of the processes; the first one writes what it took and what came out."""
    seconds: dict[str, float] = {}
    for name, (make, shape) in MODELS.items():
        torch.manual_seed(0)
        model = make().eval()
        inputs = [torch.randn(size, *shape) for _ in range(batches)]
        rows = [(x, x.flatten(1).mean(1).mul(100).long() % 10) for x in inputs]
        captured = fxc.capture(model, (inputs[0],))
        given: dict[str, Any] = {"calibration": inputs, "train": fxc.TrainingData(rows, functional.cross_entropy)}
        # What is done for the first time, threads and links that are made, is not measured.
        fxc.compress(captured, None, TASKS["fine-tuning"], train=fxc.TrainingData(rows[:2], functional.cross_entropy))
        for task, pipeline in TASKS.items():
            result = fxc.compress(captured, None, pipeline, diffs=False, verify_run=False, **given)
            seconds[f"{name}: {task}"] = result.stages[0].seconds
            if distributed.is_first():
                torch.save(result.module.state_dict(), folder / f"{name}-{task}.pt")
    if distributed.is_first():
        (folder / "seconds.json").write_text(json.dumps(seconds))


def started(processes: int, threads: int, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Run `work` in so many processes; return the seconds of each task."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [sys.executable, __file__, "--work", str(folder), "--threads", str(threads)]
    command += ["--batches", str(options.batches), "--size", str(options.size)]
    running = []
    for rank in range(processes):
        numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_PORT": port}
        numbers["OMP_NUM_THREADS"] = threads
        env = {**os.environ, "MASTER_ADDR": "127.0.0.1", **{name: str(number) for name, number in numbers.items()}}
        running.append(subprocess.Popen(command, env=env))
    if any(process.wait() for process in running):
        raise SystemExit("a process failed")
    found: dict[str, float] = json.loads((folder / "seconds.json").read_text())
    return found


def difference(one: Path, two: Path) -> float:
    """Return the length of the difference between the tensors of two files, all as one vector, as a share of it."""
    ours, theirs = (torch.load(path) for path in (one, two))
    a, b = (torch.cat([rows[name].double().flatten() for name in theirs]) for rows in (ours, theirs))
    return float((a - b).norm() / b.norm())


def measured(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row for each model and task."""
    taken: dict[str, dict[str, list[float]]] = {way: {} for way in WAYS}
    with tempfile.TemporaryDirectory() as root:
        folders = {way: Path(root) / str(number) for number, way in enumerate(WAYS)}
        for number in range(options.rounds):
            for way in list(WAYS)[:: 1 if number % 2 == 0 else -1]:
                folders[way].mkdir(exist_ok=True)
                for task, seconds in started(*WAYS[way], folders[way], options).items():
                    taken[way].setdefault(task, []).append(seconds)
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
        one, two = WAYS
        return [
            {
                "task": task,
                one: round(statistics.median(taken[one][task]), 3),
                two: round(statistics.median(taken[two][task]), 3),
                "ratio": round(statistics.median(taken[two][task]) / statistics.median(taken[one][task]), 3),
                "difference": difference(*(folders[way] / f"{task.replace(': ', '-')}.pt" for way in (two, one))),
                "all seconds": {way: [round(seconds, 3) for seconds in taken[way][task]] for way in WAYS},
            }
            for task in taken[one]
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--size", type=int, default=64, help="samples of a batch")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        torch.set_num_threads(options.threads)
        with distributed.started():
            work(options.work, options.batches, options.size)
        return
    rows = measured(options)
    columns = [key for key in rows[0] if key != "all seconds"]
    print(tabulate([[row[key] for key in columns] for row in rows], headers=columns, tablefmt="pipe"))
    write_rows(options.json, rows)


if __name__ == "__main__":
    main()
