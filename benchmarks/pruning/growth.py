"""Processor seconds and peak memory of the pass itself, for one depth of the encoder, in a process of its own."""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

import fxcompress as fxc
from pruning.encoder import Encoder, tokens
from pruning.instruments import CpuSeconds, PythonPeak
from pruning.results import Row, progress


def growth(script: Path, depths: Sequence[int], rounds: int, pipeline: str) -> list[Row]:
    """Return a row for every depth, each measured in a process of its own by `script --depth N`."""
    rows = []
    for depth in depths:
        command = [sys.executable, str(script), "--depth", str(depth), "--rounds", str(rounds), "--pipeline", pipeline]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{depth} layers: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        rows.append(json.loads(done.stdout.strip().splitlines()[-1]))
        progress(f"{depth:3} layers  {rows[-1]['seconds']:.3f} s")
    return rows


def one_depth(depth: int, rounds: int, pipeline: str) -> Row:
    """Return median processor seconds of the pass, and its peak memory, which is measured in a run of its own."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Encoder(depth).eval()
    # Imports and caches of operators are paid for by the first run, whatever the depth.
    _pass_seconds(Encoder(1).eval(), pipeline)
    seconds = [_pass_seconds(model, pipeline) for _ in range(rounds)]
    captured = fxc.capture(model, (tokens(),))
    stage = fxc.compress(captured, None, pipeline, verify_run=False, diffs=False, instruments=[PythonPeak()]).stages[0]
    peak = stage.measurements["peak_bytes"]
    median = statistics.median(seconds)
    return {
        "layers": depth,
        "nodes": len(captured.module.graph.nodes),
        "seconds": median,
        "peak_bytes": peak,
        "seconds_a_layer": median / depth,
        "bytes_a_layer": peak / depth,
    }


def _pass_seconds(model: torch.nn.Module, pipeline: str) -> float:
    captured = fxc.capture(model, (tokens(),))
    # What capture left behind would be collected in the middle of the pass.
    gc.collect()
    result = fxc.compress(captured, None, pipeline, verify_run=False, diffs=False, instruments=[CpuSeconds()])
    return result.stages[0].measurements["cpu_seconds"]


def largest_ratio(rows: Sequence[Row], name: str) -> float:
    """Return the largest value of a column over its smallest."""
    values = [row[name] for row in rows]
    return float(max(values) / min(values))
