"""What masks in blocks cost beside 2:4 and single weights, as they are and trained under the mask.

    python benchmarks/block_sparsity.py --json benchmarks/results/block_sparsity.json

MiniLM-L6 (all linears of the encoder; WordSim353: Spearman's correlation x 100, Lee: Pearson's) and the CNN of `ccexam`
on MNIST (second convolution and first linear, 98% of its weights; accuracy on the 10,000 test images). Masks are chosen
by `sparsegpt`. Trained ones learn under the mask what the dense network says: MiniLM its token states of news that no
metric is taken on, the CNN the digits and its own answers on the 60,000 other images. `seconds` are those of the
processor, on one thread.

Needs what `quantization_quality.py` needs.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from measured import write_rows
from mixed_compression import images, timed
from quantizing.minilm import LENGTH, SHORT, minilm, pieces, whole
from quantizing.subject import Subject
from tabulate import tabulate

import fxcompress as fxc

Row = dict[str, Any]
BLOCKS = ("16x16", "32x32", "64x32", "128x16", "128x32")
TUNED = {
    "minilm": "finetune{epochs=4 optimizer=adamw lr=2e-4 warmup=0.1}",
    "mnist": "finetune{epochs=3 optimizer=adamw lr=1e-3 warmup=0.1}",
}
TARGETS = {"minilm": "", "mnist": " targets=features.3,classifier.0"}
SHARES = {"minilm": (0.5, 0.75), "mnist": (0.5, 0.75, 0.9)}
# What MiniLM learns from: 16 long pieces a batch, and as many tokens' worth of short ones an eighth as often.
LONG, SHORT_BATCHES = 240, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", nargs="+", choices=list(TUNED), default=list(TUNED))
    parser.add_argument("--only", default="", help="only masks with this text in them")
    parser.add_argument("--untrained", action="store_true", help="measure the masks alone")
    parser.add_argument("--json", type=Path, help="what it holds already is not measured again")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows: list[Row] = read(options.json)
    for name in options.subjects:
        chosen = [mask for mask in masks(name) if options.only in mask]
        for row in measured(name, chosen, rows, not options.untrained):
            print(*cells(row), sep=" | ", file=sys.stderr, flush=True)
            write_rows(options.json, rows)
    headers = ["network", "mask", "as it is", "trained", "CPU seconds"]
    print(tabulate([cells(row) for row in rows], headers, tablefmt="pipe", disable_numparse=True))


def masks(name: str) -> list[str]:
    """Return the masks that are compared, by falling sharpness; 2:4 is one of 50%."""
    found = []
    for share in SHARES[name]:
        patterns = [f"sparsity={share}", *(["pattern=2:4"] if share == 0.5 else [])]
        patterns += [f"pattern=block:{block} sparsity={share}" for block in BLOCKS]
        found += [f"mask{{{pattern} importance=sparsegpt{TARGETS[name]}}}" for pattern in patterns]
    return found


def measured(name: str, plans: list[str], rows: list[Row], trained: bool) -> Iterator[Row]:
    """Measure the dense network and each mask, where `rows` have it not; yield each row that grew."""
    subject, train = {"minilm": sentences, "mnist": images}[name]()
    captured = fxc.capture(subject.network, dict(subject.inputs))
    known = {(row["subject"], row["mask"]): row for row in rows}
    for plan in ("dense", *plans):
        row = known.get((subject.name, plan))
        if row is None:
            row = {"subject": subject.name, "mask": plan, "seconds": {}}
            rows.append(row)
        pipelines = {"masked": plan} | ({"trained": f"{plan},{TUNED[name]}"} if trained and plan != "dense" else {})
        for key, pipeline in pipelines.items():
            if key not in row:
                module, took = timed(made, captured, "" if plan == "dense" else pipeline, subject, train)
                row[key], row["seconds"][key] = metrics(subject, module), took
                yield row


def made(captured: Any, pipeline: str, subject: Subject, train: fxc.TrainingData) -> Any:
    if not pipeline:
        return captured.module
    given = {"calibration": subject.calibration, "train": train}
    return fxc.compress(captured, None, pipeline, **given, verify_run=False, diffs=False).module  # type: ignore[arg-type]


def sentences() -> tuple[Subject, fxc.TrainingData]:
    """Return MiniLM, and news with what it says of them."""
    subject = minilm(64)
    long, short = pieces("lee_background.cor", LENGTH)[:LONG], pieces("lee_background.cor", SHORT)
    order = torch.randperm(len(short), generator=torch.Generator().manual_seed(1))
    batches = [*long.split(16), *short[order].split(16 * LENGTH // SHORT)[:SHORT_BATCHES]]
    teacher = fxc.capture(subject.network, dict(subject.inputs)).module
    with torch.no_grad():
        told = [(whole(batch), teacher(**whole(batch))) for batch in batches]
    return subject, fxc.TrainingData(told, torch.nn.functional.mse_loss)


def metrics(subject: Subject, module: Any) -> dict[str, float]:
    return {name: metric(module) for name, metric in subject.metrics.items()}


def cells(row: Row) -> list[str]:
    """Return a row of the table."""
    found = [" / ".join(f"{value:.2f}" for value in row.get(key, {}).values()) for key in ("masked", "trained")]
    return [row["subject"], row["mask"], *found, ", ".join(f"{took:.0f}" for took in row["seconds"].values())]


def read(path: Path | None) -> list[Row]:
    """Return the rows that are there."""
    found: list[Row] = json.loads(path.read_text())["rows"] if path is not None and path.is_file() else []
    return found


if __name__ == "__main__":
    main()
