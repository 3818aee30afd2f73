"""One linear on the CPU: the call that `lower` makes, beside every operator that torch has for it.

    python benchmarks/linear_cpu.py --rows 1,16,128,2048 --shapes 1024x1024,384x1536,1536x384,4096x4096 -o linear.json

For each number of rows and each shape (features x outputs), float32 in and out. `lower dynamic`, `lower static` and
`lower weight-only` are whole layers: quantization of the input (static: done before), product, bias. The peers are as
they would be called by hand. Products alone are marked so: what they lack is the work before and behind them. All are
called in turn in one process; the figure is the 25th percentile of the microseconds of a call, on the thread's clock.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fxcompress.lowering.choosing import Shape, choose

ops = torch.ops.fxcompress
Calls = dict[str, Callable[[], object]]
KINDS = ("dynamic", "static", "weight-only")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1,16,128,2048")
    parser.add_argument("--shapes", default="1024x1024,384x1536,1536x384,4096x4096")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each number of rows and shape")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    measured = []
    for shape in given.shapes.split(","):
        features, outputs = map(int, shape.split("x"))
        for rows in map(int, given.rows.split(",")):
            measured.append(measure(rows, features, outputs, given.seconds))
            print(line(measured[-1]), flush=True)
    if given.output:
        given.output.write_text(json.dumps({"machine": machine(), "linears": measured}, indent=1) + "\n")


def machine() -> dict[str, object]:
    """Return what the figures were measured on."""
    model = next((row.partition(":")[2].strip() for row in cpu_info() if row.startswith("model name")), "")
    return {"cpu": model or platform.processor(), "torch": torch.__version__, "threads": torch.get_num_threads()}


def cpu_info() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def measure(rows: int, features: int, outputs: int, seconds: float) -> dict[str, object]:
    """Return the microseconds of every call for one shape, and what `lower` picked."""
    with torch.no_grad():
        picked = {kind: choose(Shape(kind, rows, features, outputs)).backend for kind in KINDS}
        calls = calls_of(rows, features, outputs, picked)
        took = in_turn(calls, seconds)
    return {"rows": rows, "features": features, "outputs": outputs, "picked": picked, "microseconds": took}


def calls_of(rows: int, features: int, outputs: int, picked: dict[str, str]) -> Calls:
    """Return the calls by name: fp32, those of `lower`, the peers."""
    values = torch.randn(rows, features)
    weight = torch.randint(-127, 128, (outputs, features), dtype=torch.int8)
    scales, bias = torch.rand(outputs) / 100, torch.randn(outputs)
    floats = weight * scales[:, None]
    layers = ([weight], [scales], [bias])
    unsigned = ops.quantize_u8(values, 0.03, 128)
    linear = torch.nn.functional.linear
    calls: Calls = {
        "fp32": lambda: linear(values, floats, bias),
        "lower dynamic": lambda: ops.linear_dynamic(values, *layers, picked["dynamic"]),
        "lower static": lambda: ops.linear_static(unsigned, 0.03, 128, *layers, "none", None, 0, picked["static"]),
        "lower static u8": lambda: ops.linear_static(unsigned, 0.03, 128, *layers, "none", 0.05, 128, picked["static"]),
        "lower weight-only": lambda: ops.linear_weight_only(values, *layers, picked["weight-only"]),
    }
    return calls | peers(values, weight, scales, bias, unsigned)


def peers(
    values: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor, unsigned: torch.Tensor
) -> Calls:
    """Return the operators of torch called by hand, those that this torch has."""
    zeros = torch.zeros(len(scales), dtype=torch.int64)
    signed, across = unsigned.bitwise_xor(128).view(torch.int8), weight.t()
    brain = (values.bfloat16(), (weight * scales[:, None]).bfloat16(), bias.bfloat16())
    calls: Calls = {
        "_int_mm (product alone)": lambda: torch._int_mm(signed, across),
        "bf16": lambda: torch.nn.functional.linear(*brain),
    }
    if hasattr(torch.ops.quantized, "linear_dynamic"):
        whole = torch._make_per_channel_quantized_tensor(weight, scales, zeros, 0)
        packed = torch.ops.quantized.linear_prepack(whole, bias)
        calls["quantized.linear_dynamic (per tensor)"] = lambda: torch.ops.quantized.linear_dynamic(values, packed)
    if hasattr(torch.ops.onednn, "qlinear_pointwise"):
        weights = torch.ops.onednn.qlinear_prepack(weight, None)
        for name, dtype, scale in (
            ("f32", torch.float32, 1.0),
            ("u8", torch.uint8, 0.05),
            ("bf16", torch.bfloat16, 1.0),
        ):
            calls[f"onednn.qlinear u8->{name}"] = qlinear(unsigned, weights, scales, zeros, bias, dtype, scale)
    return calls


def qlinear(
    values: torch.Tensor,
    weights: torch.Tensor,
    scales: torch.Tensor,
    zeros: torch.Tensor,
    bias: torch.Tensor,
    dtype: torch.dtype,
    output: float,
) -> Callable[[], object]:
    zero = 128 if dtype == torch.uint8 else 0
    called = torch.ops.onednn.qlinear_pointwise.default
    return lambda: called(values, 0.03, 128, weights, scales, zeros, bias, output, zero, dtype, "none", [], "")


def in_turn(calls: Calls, seconds: float) -> dict[str, float]:
    """Return the 25th percentile of the microseconds of each call."""
    took: dict[str, list[int]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(took["fp32"]) < 3:
        for name, call in calls.items():
            start = time.thread_time_ns()
            call()
            took[name].append(time.thread_time_ns() - start)
    return {name: round(sorted(rows)[len(rows) // 4] / 1e3, 1) for name, rows in took.items()}


def line(measured: dict[str, Any]) -> str:
    """Return one row of the table: ratios over fp32."""
    took = measured["microseconds"]
    ratios = "  ".join(f"{name} {took['fp32'] / spent:.2f}" for name, spent in took.items() if name != "fp32")
    place = f"{measured['rows']} x {measured['features']} x {measured['outputs']}"
    return f"{place}: fp32 {took['fp32']:.0f} us | {ratios} | {measured['picked']}"


if __name__ == "__main__":
    main()
