"""Quantizes every model of the zoo, lowers it, and measures how near the result stays and how fast it is.

    python benchmarks/zoo_quantization.py --names 'resnet*' bert --json benchmarks/results/zoo_quantization.json
    python benchmarks/zoo_quantization.py --timing --names 'resnet*' --json benchmarks/results/zoo_quantization.json

For each model, with random weights, in float32: `quantize{scheme=w8a8},lower`, the signal-to-noise ratio (SQNR) of its
output against that of the captured module, on inputs of the same shapes as the example and other values: of the
quantized graph, and of the lowered one. A model is ok where the lowered one has 15 dB.

With --timing both are called in turn in one thread, and `speed` is how many times as fast as in float32 the lowered one
is, by the 25th percentile of the CPU time of a call. A model is slow where it is slower by more than 5%. Without
--names these are the 20 models of SAMPLE.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from zoo_running import Row, chosen, output_of, parser, run_all

PIPELINE = "quantize{scheme=w8a8},lower"
LEAST_SQNR, LEAST_SPEED = 15.0, 1 / 1.05
SECONDS, ROUNDS = 6.0, 41
SAMPLE = (
    "transformers/bert", "transformers/gpt2", "transformers/llama_gqa", "transformers/t5", "transformers/whisper",
    "timm/deit_tiny_patch16_224", "timm/mobilevit_xxs", "timm/test_resnet", "timm/convit_tiny", "timm/fastvit_t8",
    "timm/regnetx_002", "timm/swinv2_cr_tiny_224", "timm/xcit_nano_12_p8_224", "timm/efficientvit_m0",
    "torchvision/resnet18", "torchvision/mobilenet_v3_small", "torchvision/swin_t", "torchvision/vit_b_16",
    "torchvision/convnext_tiny", "torchvision/vgg11",
)  # fmt: skip


def main() -> int:
    made = parser(__doc__)
    made.add_argument("--timing", action="store_true", help="measure the speed too")
    options = made.parse_args()
    if options.one:
        print(json.dumps(run_one(options.one, options.timing)))
        return 0
    timing = ["--timing"] if options.timing else []
    rows = run_all(
        options,
        chosen(options.names or (SAMPLE if options.timing else [])),
        lambda name: [sys.executable, "-W", "ignore", __file__, "--one", name, *timing],
        lambda rows: {"summary": summary(rows), "pipeline": PIPELINE},
    )
    print(table(rows))
    print(summary(rows))
    return 0 if all(row["status"] == "ok" for row in rows) else 1


def run_one(name: str, timing: bool) -> Row:
    """Quantize and lower one model, and return what came out."""
    import torch
    from zoo_models import entries, import_torchvision

    import fxcompress

    torch.set_num_threads(1)
    entry = next(entry for entry in entries() if entry.name == name)
    import_torchvision()
    torch.manual_seed(0)
    model = entry.build().eval()
    args, kwargs = entry.inputs(2)
    row: Row = {"name": name, "library": entry.library}
    try:
        captured = fxcompress.capture(model, fxcompress.Inputs(*args, **kwargs))
        row |= quantized(captured, entry.inputs(2), timing)
    except Exception as error:
        return row | {"status": "failed", "message": f"{type(error).__name__}: {error}"[:1000]}
    return row | {"status": verdict(row)}


def quantized(captured: Any, given: Any, timing: bool) -> Row:
    """Run the pipeline, and measure on the inputs `given`."""
    import fxcompress

    want = output_of(captured.module, *given)
    first, second = PIPELINE.split(",")
    rounded = fxcompress.compress(captured, captured.inputs, first, diffs=False)
    row: Row = {"sqnr_quantized": sqnr(want, output_of(rounded.module, *given))}
    result = fxcompress.compress(rounded, captured.inputs, second, diffs=False)
    stage = result.stages[-1]
    row |= {"sqnr": sqnr(want, output_of(result.module, *given))}
    row |= {"quantize_seconds": round(rounded.stages[0].seconds, 2), "lower_seconds": round(stage.seconds, 2)}
    row |= {key: int(stage.statistics[key]) for key in ("layers", "products", "attentions", "left")}
    row |= {"held": len(stage.details["held"]), "unrounded": len(stage.details["unrounded"])}
    row |= {"reasons": sorted(set(stage.details["left"].values()))}
    if timing:
        row |= speed(
            {
                "float": lambda: output_of(captured.module, *given),
                "lowered": lambda: output_of(result.module, *given),
            }
        )
    return row


def sqnr(want: Any, got: Any) -> float:
    """Return the signal-to-noise ratio of all floats in dB; 300 where they are equal."""
    from fxcompress.analysis.fidelity import compare_outputs

    found = compare_outputs(want, got).sqnr_db
    return round(max(-300.0, min(found, 300.0)), 2)


def speed(calls: dict[str, Callable[[], object]]) -> Row:
    """Return the milliseconds of CPU time of both calls, made in turn, and how many times as fast the second is."""
    took: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    started = time.thread_time()
    while len(took["float"]) < 5 or (len(took["float"]) < ROUNDS and time.thread_time() - started < SECONDS):
        for name, call in calls.items():
            start = time.thread_time()
            call()
            took[name].append(time.thread_time() - start)
    quarter = {name: statistics.quantiles(each, n=4)[0] * 1e3 for name, each in took.items()}
    rounded = {f"{name}_milliseconds": round(value, 3) for name, value in quarter.items()}
    return rounded | {"speed": round(quarter["float"] / quarter["lowered"], 3)}


def verdict(row: Row) -> str:
    """Return ok, or what is not."""
    if not math.isfinite(row["sqnr"]) or row["sqnr"] < LEAST_SQNR:
        return "noisy"
    return "slow" if row.get("speed", 1.0) < LEAST_SPEED else "ok"


HEADERS = ("model", "status", "quantized dB", "lowered dB", "layers", "left", "held", "attentions", "lower s", "speed")
KEYS = ("status", "sqnr_quantized", "sqnr", "layers", "left", "held", "attentions", "lower_seconds", "speed")


def table(rows: list[Row]) -> str:
    from tabulate import tabulate

    return str(tabulate([[row["name"], *(row.get(key, "") for key in KEYS)] for row in rows], headers=HEADERS))


def summary(rows: list[Row]) -> str:
    """Return the counts in a line."""
    done = [row for row in rows if "sqnr" in row]
    good = sum(row["sqnr"] >= LEAST_SQNR for row in done)
    timed = [row["speed"] for row in done if "speed" in row]
    text = f"{len(done)} of {len(rows)} models quantized and lowered, {good} with {LEAST_SQNR:.0f} dB or more"
    if timed:
        slow = sum(each < LEAST_SPEED for each in timed)
        text += (
            f"; {len(timed)} timed, {slow} slower than float32 by more than 5%, "
            f"{statistics.median(timed):.2f} times as fast (median)"
        )
    return text


if __name__ == "__main__":
    sys.exit(main())
