"""One linear on the CPU: the call that `lower` makes, beside every operator that torch has for it.

    python benchmarks/linear_cpu.py --rows 1,16,128,2048 --shapes 1024x1024,384x1536,1536x384,4096x4096 -o linear.json

For each number of rows and each shape (features x outputs), float32 in and out. `lower dynamic`, `lower static` and
`lower weight-only` are whole layers: quantization of the input (static: done before), product, bias. `native` is the
same with our compiled kernels, picked or not. The peers are as they would be called by hand. Products alone are marked
so: what they lack is the work before and behind them. All are called in turn in one process, each with weights of its
own, so that none finds them in the cache; the figure is the 25th percentile of the microseconds of a call, on the
thread's clock.

`behind` says how the fastest that `lower` makes of 8-bit activations compares with the fastest peer, products alone
among them: 1.1 is 10% slower; `behind_whole` compares with the fastest peer that is a whole layer. The script fails
where one of the former is above `--limit`.
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

from fxcompress.kernels.backends import available
from fxcompress.kernels.native import calls as native
from fxcompress.lowering.choosing import Shape, choose
from fxcompress.reporting import processor

ops = torch.ops.fxcompress
Calls = dict[str, Callable[[], object]]
# Weights, scales and biases.
Layers = tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]
KINDS = ("dynamic", "static", "weight-only")
OURS = ("lower dynamic", "lower static", "lower static u8")
ALONE = "(product alone)"
ALIKE = ("fp32", "lower", "native")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1,16,128,2048")
    parser.add_argument("--shapes", default="1024x1024,384x1536,1536x384,4096x4096")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each number of rows and shape")
    parser.add_argument("--limit", type=float, default=1.1, help="how far behind the fastest peer is too far")
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
    good, whole = (sum(one[key] <= given.limit for one in measured) for key in ("behind", "behind_whole"))
    print(f"{good} of {len(measured)} are within {given.limit} of the fastest peer, {whole} of the fastest whole layer")
    return 0 if good == len(measured) else 1


def machine() -> dict[str, object]:
    """Return what the figures were measured on."""
    return {"cpu": processor(), "torch": torch.__version__, "threads": torch.get_num_threads()}


def measure(rows: int, features: int, outputs: int, seconds: float) -> dict[str, Any]:
    """Return the microseconds of every call for one shape, and what `lower` picked."""
    with torch.no_grad():
        picked = {kind: choose(Shape(kind, rows, features, outputs)).backend for kind in KINDS}
        calls = calls_of(rows, features, outputs, picked)
        took = in_turn(calls, seconds)
    place = {"rows": rows, "features": features, "outputs": outputs}
    return {**place, "picked": picked, **standing(took), "microseconds": took}


def standing(took: dict[str, float]) -> dict[str, Any]:
    """Return the fastest of ours and of the peers by name, and the ratio of their times."""
    ours = min(OURS, key=took.__getitem__)
    peers = sorted((name for name in took if not name.startswith(ALIKE)), key=took.__getitem__)
    whole = next(name for name in peers if ALONE not in name)
    behind = {"behind": peers[0], "behind_whole": whole}
    return {"ours": ours, "peer": peers[0], **{key: round(took[ours] / took[one], 3) for key, one in behind.items()}}


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
        **layers_with("lower", values, unsigned, layers, picked),
    }
    if available("native") and native.serves(features):
        calls |= layers_with("native", values, unsigned, layers, dict.fromkeys(KINDS, "native"))
    return calls | peers(values, weight, scales, bias, unsigned)


def layers_with(
    who: str, values: torch.Tensor, unsigned: torch.Tensor, layers: Layers, backends: dict[str, str]
) -> Calls:
    """Return the whole layers of fxcompress, each kind with its backend."""
    dynamic, static, weight_only = (backends[kind] for kind in KINDS)
    one, two, three, four = ([[part.clone() for part in parts] for parts in layers] for _ in range(4))
    return {
        f"{who} dynamic": lambda: ops.linear_dynamic(values, *one, dynamic),
        f"{who} static": lambda: ops.linear_static(unsigned, 0.03, 128, *two, "none", None, 0, static),
        f"{who} static u8": lambda: ops.linear_static(unsigned, 0.03, 128, *three, "none", 0.05, 128, static),
        f"{who} weight-only": lambda: ops.linear_weight_only(values, *four, weight_only),
    }


def peers(
    values: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor, unsigned: torch.Tensor
) -> Calls:
    """Return the operators of torch called by hand, those that this torch has."""
    zeros = torch.zeros(len(scales), dtype=torch.int64)
    signed, across = unsigned.bitwise_xor(128).view(torch.int8), weight.t()
    brain = (values.bfloat16(), (weight * scales[:, None]).bfloat16(), bias.bfloat16())
    calls: Calls = {
        f"_int_mm {ALONE}": lambda: torch._int_mm(signed, across),
        "bf16": lambda: torch.nn.functional.linear(*brain),
    }
    if hasattr(torch.ops.quantized, "linear_dynamic"):
        for engine in ("fbgemm", "x86"):
            if engine in torch.backends.quantized.supported_engines:
                calls[f"quantized.linear_dynamic[{engine}]"] = linear_dynamic(values, weight, scales, bias, engine)
    if hasattr(torch.ops.onednn, "qlinear_pointwise"):
        for name, dtype, scale in (
            ("f32", torch.float32, 1.0),
            ("u8", torch.uint8, 0.05),
            ("bf16", torch.bfloat16, 1.0),
        ):
            calls[f"onednn.qlinear u8->{name}"] = qlinear(unsigned, weight, scales, zeros, bias, dtype, scale)
    return calls


def linear_dynamic(
    values: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor, engine: str
) -> Callable[[], object]:
    """Return the deprecated linear with one range for the whole input, its weights packed for `engine`."""
    zeros = torch.zeros(len(scales), dtype=torch.int64)
    whole = torch._make_per_channel_quantized_tensor(weight, scales, zeros, 0)
    before, torch.backends.quantized.engine = torch.backends.quantized.engine, engine
    packed = torch.ops.quantized.linear_prepack(whole, bias)
    torch.backends.quantized.engine = before
    return lambda: torch.ops.quantized.linear_dynamic(values, packed)


def qlinear(
    values: torch.Tensor,
    weight: torch.Tensor,
    scales: torch.Tensor,
    zeros: torch.Tensor,
    bias: torch.Tensor,
    dtype: torch.dtype,
    output: float,
) -> Callable[[], object]:
    zero = 128 if dtype == torch.uint8 else 0
    called, weights = torch.ops.onednn.qlinear_pointwise.default, torch.ops.onednn.qlinear_prepack(weight, None)
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
    found = f"{measured['ours']} takes {measured['behind']:.2f} of {measured['peer']}"
    found += f", {measured['behind_whole']:.2f} of the fastest whole layer"
    return f"{place}: fp32 {took['fp32']:.0f} us | {ratios} | {measured['picked']} | {found}"


if __name__ == "__main__":
    sys.exit(main())
