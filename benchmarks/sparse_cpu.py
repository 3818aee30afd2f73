"""One sparse linear on the CPU: from which sparsity on it is faster than the dense one, for each shape and block.

    python benchmarks/sparse_cpu.py -o benchmarks/results/sparse_cpu.json

For each shape (features x outputs), number of rows, pattern (outputs x features of a block; 1x1 is anywhere) and
sparsity: the dense linear of torch, what `lower` picks, and torch's own sparse products (CSR, and BSR where blocks are
square). Float32, one thread. All are called in turn in one process, with 16 MB read between two calls as other layers
would do; the figure is the 25th percentile of the microseconds of a call, on the thread's clock.

The table has how many times as fast as the dense linear the picked one is, at each sparsity, and the break-even: the
least sparsity from which on it is never slower than dense by more than 5%. The script fails where what was picked is.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from linear_cpu import machine
from tabulate import tabulate

import fxcompress as fxc

ops = torch.ops.fxcompress
SPARSITIES = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
SLOWER = 1.05
# Bytes that are read between two calls: the other layers of a model leave no weight in the nearer caches.
OTHERS = 16 << 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1,16,128,2048")
    parser.add_argument("--shapes", default="384x1536,1536x384,1024x1024,1024x4096")
    parser.add_argument("--patterns", default="1x1,16x1,16x4,32x1,16x16,128x16")
    parser.add_argument("--seconds", type=float, default=0.15, help="for each row of the table and sparsity")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    measured = []
    for shape in given.shapes.split(","):
        for rows in map(int, given.rows.split(",")):
            for pattern in given.patterns.split(","):
                place = (rows, *pair(shape), pair(pattern))
                measured += [measure(*place, sparsity, given.seconds) for sparsity in SPARSITIES]
                print(*line(measured[-len(SPARSITIES) :]), sep="  ", flush=True)
    if given.output:
        found = {"machine": machine(), "command": " ".join(sys.argv), "linears": measured}
        given.output.write_text(json.dumps(found, indent=1) + "\n")
    print(table(measured))
    slow = [one for one in measured if one["speed"] * SLOWER < 1]
    print(f"{len(slow)} of {len(measured)} are slower than dense by more than 5%")
    return 1 if slow else 0


def pair(text: str) -> tuple[int, int]:
    first, second = map(int, text.split("x"))
    return first, second


def measure(
    rows: int, features: int, outputs: int, block: tuple[int, int], sparsity: float, seconds: float
) -> dict[str, Any]:
    """Return the microseconds of every call for one weight, and what `lower` picked."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(features, outputs)
    net = torch.nn.Sequential(layer).eval()
    kept = torch.rand(-(-outputs // block[0]), -(-features // block[1])) >= sparsity
    kept = kept.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)[:outputs, :features]
    with torch.no_grad():
        layer.weight.mul_(kept)
    x = torch.randn(rows, features)
    lowered = fxc.compress(net, (x,), "lower", diffs=False).stages[0].details["lowered"]
    form = next((made["backend"] for made in lowered.values()), "dense")
    took = in_turn(calls_of(layer, x, form, block), seconds)
    place = {"rows": rows, "features": features, "outputs": outputs, "block": list(block), "sparsity": sparsity}
    return {**place, "picked": form, "speed": round(took["dense"] / took["lower"], 3), "microseconds": took}


def calls_of(
    layer: torch.nn.Linear, x: torch.Tensor, form: str, block: tuple[int, int]
) -> dict[str, Callable[[], Any]]:
    weight, bias = layer.weight.detach(), layer.bias.detach()
    compressed, turned, column = weight.to_sparse_csr(), x.t().contiguous(), bias[:, None]
    linear = torch.nn.functional.linear
    calls: dict[str, Callable[[], Any]] = {
        "dense": lambda: linear(x, weight, bias),
        "lower": lambda: ops.linear_sparse(x, weight, bias, form) if form != "dense" else linear(x, weight, bias),
        # Its operand lies as it wants it, and its result stays so.
        "torch csr": lambda: torch.addmm(column, compressed, turned),
    }
    if block[0] == block[1] > 1:
        blocks = weight.to_sparse_bsr(block)
        calls["torch bsr"] = lambda: linear(x, blocks, bias)
    return calls


def in_turn(calls: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Return the 25th percentile of the microseconds of each call."""
    took: dict[str, list[int]] = {name: [] for name in calls}
    with torch.no_grad():
        for call in calls.values():
            call()
        others = torch.zeros(OTHERS // 4)
        end = time.monotonic() + seconds
        while time.monotonic() < end or len(took["dense"]) < 5:
            for name, call in calls.items():
                others.sum()
                start = time.thread_time_ns()
                call()
                took[name].append(time.thread_time_ns() - start)
    return {name: round(sorted(each)[len(each) // 4] / 1e3, 1) for name, each in took.items()}


def line(measured: list[dict[str, Any]]) -> list[str]:
    """Return one row of the table, for one shape, number of rows and pattern."""
    first = measured[0]
    place = [f"{first['features']} x {first['outputs']}", str(first["rows"]), "x".join(map(str, first["block"]))]
    return [*place, *[f"{one['speed']:.2f}" for one in measured], break_even(measured)]


def break_even(measured: list[dict[str, Any]]) -> str:
    """Return the least sparsity from which on a sparse form was picked and is faster."""
    faster = [one["picked"] != "dense" and one["speed"] > 1 for one in measured]
    first = next((i for i in range(len(faster)) if all(faster[i:])), None)
    return "none" if first is None else f"{measured[first]['sparsity']:.0%}"


def table(measured: list[dict[str, Any]]) -> str:
    """Return the table as Markdown."""
    count = len(SPARSITIES)
    rows = [line(measured[i : i + count]) for i in range(0, len(measured), count)]
    headers = ["shape", "rows", "block", *[f"{sparsity:.0%}" for sparsity in SPARSITIES], "break-even"]
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)


if __name__ == "__main__":
    sys.exit(main())
