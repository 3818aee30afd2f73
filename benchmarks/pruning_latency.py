"""Latency of pruned models on the CPU, beside what they were: the ratio beside that of the multiply-accumulates.

    python benchmarks/pruning_latency.py --json benchmarks/results/pruning_latency.json

ResNet-50 and MobileNetV3-large of torchvision with random weights, pruned to half the multiply-accumulates, with
channel counts as they come and in multiples of eight, run with one thread and with two, in turns with the captured
model that was not pruned.

Needs: pip install --no-deps torchvision==0.28.0
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from pruning.counting import macs
from pruning.results import Row, progress, write_json
from tabulate import tabulate
from zoo_models import import_torchvision

import fxcompress as fxc
from fxcompress.analysis.measure import Latency, paired_latency

MODELS = ("resnet50", "mobilenet_v3_large")
DENSE = "unpruned"
HEADERS = ("model", "batch", "threads", "round_to", "ms", "half range", "latency ratio", "MACs ratio")


def main() -> int:
    options = _options()
    image = torch.randn(options.batch, 3, options.size, options.size)
    rows: list[Row] = []
    for name in options.models:
        variants = pruned(name, image, options)
        for threads in options.threads:
            rows += measured(name, variants, image, threads, options.seconds)
            write_json(options.json, fxc.Inputs(image), scope=options.scope, share=options.share, rows=rows)
    print(tabulate([_cells(row) for row in rows], headers=HEADERS, disable_numparse=True))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="names of torchvision")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--round-to", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--share", type=float, default=0.5, help="of the MACs, left")
    parser.add_argument("--scope", choices=["local", "global"], default="local")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--size", type=int, default=224, help="height and width of the images")
    parser.add_argument("--seconds", type=float, default=60, help="of measurement, for a model and a count of threads")
    parser.add_argument("--quick", action="store_true", help="a small model, one second: to see that it works")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.models, options.size, options.seconds = ["resnet18"], 64, 1.0
    return options


def pruned(name: str, image: torch.Tensor, options: argparse.Namespace) -> dict[str, torch.nn.Module]:
    """Return the captured model as it is, and pruned with every `round_to`."""
    import_torchvision()
    from torchvision import models

    torch.manual_seed(0)
    captured = fxc.capture(models.get_model(name, weights=None).eval(), (image,))
    found: dict[str, torch.nn.Module] = {DENSE: captured.module}
    for multiple in options.round_to:
        text = f"prune{{macs={options.share} importance=group-norm scope={options.scope} round_to={multiple}}}"
        found[str(multiple)] = fxc.compress(captured, None, text).module
        progress(f"{name} {text}")
    return found


def measured(
    name: str, variants: Mapping[str, torch.nn.Module], image: torch.Tensor, threads: int, seconds: float
) -> Iterator[Row]:
    """Yield a row for every variant, all of them measured in turns with `threads` threads."""
    torch.set_num_threads(threads)
    calls = {variant: partial(module, image) for variant, module in variants.items()}
    with torch.no_grad():
        found = paired_latency(calls, rounds=1000, budget_seconds=seconds)
    dense = macs(variants[DENSE], image)
    for variant, latency in found.items():
        row = _row(latency, found[DENSE]) | {"macs_ratio": macs(variants[variant], image) / dense}
        yield {"model": name, "batch": len(image), "threads": threads, "round_to": variant, **row}


def _row(latency: Latency, dense: Latency) -> Row:
    return {
        "seconds": latency.median,
        "half_range": latency.spread / 2,
        "rounds": latency.rounds,
        "latency_ratio": latency.median / dense.median,
    }


def _cells(row: Row) -> list[object]:
    times = [f"{1e3 * row[key]:.2f}" for key in ("seconds", "half_range")]
    ratios = [f"{row[key]:.3f}" for key in ("latency_ratio", "macs_ratio")]
    return [*(row[key] for key in ("model", "batch", "threads", "round_to")), *times, *ratios]


if __name__ == "__main__":
    sys.exit(main())
