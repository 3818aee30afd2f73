"""What verification and diffs cost beside the passes themselves, on ResNet-50 and ViT-B/16 with random weights.

    python benchmarks/pipeline_overhead.py --json benchmarks/results/pipeline_overhead.json

Needs torchvision (its models only): pip install --no-deps torchvision==0.28.0
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tabulate import tabulate

import fxcompress as fxc
from fxcompress.contract import Resources
from fxcompress.pipeline import Instrument
from fxcompress.pipeline.instruments import Diffs, Fingerprints, Statistics, Timing
from fxcompress.pipeline.run import run
from fxcompress.pipeline.verify import Verify
from fxcompress.reporting import environment

PIPELINE = "fold-constants,fold-bn,mask{sparsity=0.5},clip{deviations=4},quantize,eliminate-dead-nodes"

# What stands around the steps, from nothing to everything that is on by default.
SETTINGS: dict[str, Callable[[], list[Instrument]]] = {
    "passes alone": list,
    "timing, statistics, fingerprints": lambda: [Fingerprints(), Statistics(), Timing()],
    "+ diffs": lambda: [Diffs(), Fingerprints(), Statistics(), Timing()],
    "+ verification, no run": lambda: [Diffs(), Verify(run=False), Fingerprints(), Statistics(), Timing()],
    "+ run of the example inputs": lambda: [Diffs(), Verify(), Fingerprints(), Statistics(), Timing()],
}


def models() -> dict[str, torch.nn.Module]:
    """The two models, random weights."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

    return {name: torchvision.models.get_model(name, weights=None).eval() for name in ("resnet50", "vit_b_16")}


def measured(captured: fxc.Captured, original: torch.nn.Module, rounds: int) -> dict[str, float]:
    """Median seconds of the pipeline under each setting, the settings taken in turns."""
    plugins = fxc.Plugins(autoload=False)
    pipeline = fxc.Pipeline.parse(PIPELINE, plugins)
    resources = Resources(captured.inputs, original=original)
    seconds: dict[str, list[float]] = {name: [] for name in SETTINGS}
    for _ in range(rounds):
        for name, instruments in SETTINGS.items():
            module = copy.deepcopy(captured.module)
            start = time.perf_counter()
            run(pipeline, module, resources, instruments(), plugins)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    # One thread: a crowded machine then disturbs little.
    torch.set_num_threads(1)
    rows, captured = [], None
    for name, model in models().items():
        captured = fxc.capture(model, (torch.randn(options.batch, 3, 224, 224),))
        found = measured(captured, model, options.rounds)
        alone = found["passes alone"]
        for key, taken in found.items():
            rows.append({"model": name, "setting": key, "seconds": taken, "ratio": taken / alone})
    print(tabulate([row.values() for row in rows], headers=list(rows[0]), floatfmt=(".0f", "", ".3f", ".2f")))
    if options.json and captured is not None:
        command = f"python benchmarks/pipeline_overhead.py --rounds {options.rounds} --batch {options.batch}"
        result = {"command": command, "pipeline": PIPELINE, "environment": environment(captured.inputs), "rows": rows}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
