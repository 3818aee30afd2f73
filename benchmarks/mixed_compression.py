"""Several passes and a coded file: bytes of the file, and the metric of what is loaded from it.

    python benchmarks/mixed_compression.py --json benchmarks/results/mixed_compression.json

MiniLM-L6 (WordSim353: Spearman's correlation x 100; Lee: Pearson's) without training, and the CNN of `ccexam` on MNIST
(accuracy on the 10,000 test images), trained between the passes on the 60,000 others and on what the network said of
them. Each result is saved with `coding="auto"`, everything in one file, and loaded again before it is measured. `ratio`
is the bytes of all parameters in float32 over those of the file; `seconds` are those of the processor for the passes,
`save` and `load`, one thread.

Needs what `quantization_quality.py` needs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from compressing.mnist import Feed, Images, Taught, answers
from measured import Row, write_rows
from pruning.mnist import mnist_images
from quantizing.digits import digits
from quantizing.minilm import minilm
from quantizing.subject import Subject
from tabulate import tabulate

import fxcompress as fxc

TUNED = "finetune{epochs=4 optimizer=adamw lr=1e-3 warmup=0.1}"
SHARED = "finetune{epochs=1 optimizer=adam lr=1e-3}"
PRUNED = f"prune{{ratio=0.3}},{TUNED}"
MASKED = f"mask{{sparsity=0.6 scope=global}},{SHARED},mask{{sparsity=0.85 scope=global}},{TUNED}"
PLANS = {
    "minilm": [
        "quantize{scheme=w4a16 granularity=channel rounding=gptq}",
        "quantize{scheme=w4a16 granularity=channel rounding=gptq schemes=*word_embeddings*:w3a16}",
        "quantize{scheme=w3a16 granularity=channel rounding=gptq}",
        "quantize{scheme=w4a16 granularity=channel rounding=learned schemes=*word_embeddings*:w3a16}",
        "quantize{scheme=w3a16 granularity=channel rounding=learned}",
        "mask{sparsity=0.3 importance=sparsegpt},quantize{scheme=w3a16 granularity=channel rounding=gptq}",
    ],
    "mnist": [
        "quantize{scheme=w4a16 granularity=channel rounding=gptq}",
        f"{PRUNED},cluster{{bits=4 targets=features}},{SHARED},"
        "quantize{scheme=w4a16 granularity=channel rounding=gptq}",
        f"{PRUNED},{MASKED},cluster{{bits=4 biases=true}},{SHARED}",
        f"{PRUNED},{MASKED},cluster{{bits=4 biases=true targets=features}},{SHARED},"
        "quantize{scheme=w4a16 granularity=channel rounding=gptq}",
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", nargs="+", choices=list(PLANS), default=list(PLANS))
    parser.add_argument("--only", default="", help="only pipelines with this text in them")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows: list[Row] = []
    for name in options.subjects:
        subject, train = {"minilm": sentences, "mnist": images}[name]()
        for row in measured(subject, train, [plan for plan in PLANS[name] if options.only in plan]):
            rows.append(row)
            print(*cells(row), sep=" | ", file=sys.stderr, flush=True)
            write_rows(options.json, rows)
    headers = ["network", "pipeline", "bytes", "ratio", "metric (change)", "passes, save, load in CPU s"]
    print(tabulate([cells(row) for row in rows], headers, tablefmt="pipe", disable_numparse=True))


def sentences() -> tuple[Subject, None]:
    return minilm(64), None


def images() -> tuple[Subject, fxc.TrainingData]:
    """Return the network on MNIST, and the images that it is not evaluated on, with its own answers to them."""
    subject, (seen, _) = digits(512), mnist_images()
    whole = Images(seen.pixels, seen.digits)
    feed = Feed(whole, 256, 1, answers(subject.network, whole))
    return subject, fxc.TrainingData(feed, Taught(soft=0.5))


def measured(subject: Subject, train: fxc.TrainingData | None, plans: list[str]) -> Iterator[Row]:
    """Yield a row for float32 and one for each pipeline."""
    # The file holds the example inputs too: two rows of zeros take few bytes.
    blank = {name: torch.zeros_like(tensor[:2]) for name, tensor in subject.inputs.items()}
    captured = fxc.capture(subject.network, blank)
    plain = {name: metric(captured.module) for name, metric in subject.metrics.items()}
    whole = 4 * sum(parameter.numel() for parameter in captured.module.parameters())
    yield {"subject": subject.name, "pipeline": "float32", "bytes": whole, "ratio": 1.0, "metrics": plain}
    for plan in plans:
        result, passes = timed(compressed, captured, plan, subject, train)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "compressed.fxc")
            _, saving = timed(result.save, path, coding="auto")
            loaded, loading = timed(fxc.load, path)
            size = path.stat().st_size
        found = {name: metric(loaded.module) for name, metric in subject.metrics.items()}
        yield {
            "subject": subject.name, "pipeline": plan, "bytes": size, "ratio": round(whole / size, 2),
            "metrics": found, "change": {name: found[name] - plain[name] for name in found},
            "seconds": [passes, saving, loading],
        }  # fmt: skip


def compressed(captured: Any, plan: str, subject: Subject, train: fxc.TrainingData | None) -> fxc.Result:
    return fxc.compress(
        captured, None, plan, calibration=subject.calibration, train=train, verify_run=False, diffs=False
    )


def timed(call: Callable[..., Any], *given: Any, **named: Any) -> tuple[Any, float]:
    """Return what a call gives, and the seconds of the processor that it took."""
    start = time.process_time()
    made = call(*given, **named)
    return made, round(time.process_time() - start, 1)


def cells(row: Row) -> list[str]:
    """Return a row of the table."""
    changes = row.get("change", {})
    metrics = [
        f"{name} {value:.2f}" + (f" ({changes[name]:+.2f})" if changes else "")
        for name, value in row["metrics"].items()
    ]
    seconds = ", ".join(f"{each:.0f}" for each in row.get("seconds", []))
    return [row["subject"], row["pipeline"], f"{row['bytes']:,}", f"{row['ratio']:.1f}", ", ".join(metrics), seconds]


if __name__ == "__main__":
    main()
