"""What masks lose: MiniLM's metrics with half of its weights at zero, by importance and pattern.

    python benchmarks/sparsity_quality.py --json benchmarks/results/sparsity_quality.json --markdown sparsity.md

WordSim353: Spearman's correlation x 100; Lee: Pearson's. All linears of the encoder and its pooler are masked, and
nothing is trained. The calibration data are others than those that the metrics are taken on, and so is the batch of the
signal to noise ratio. `change` is the metric less that in float32; `seconds` are those of the processor, on
one thread.

Needs what `quantization_quality.py` needs for MiniLM.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import torch
from quantization_quality import Row, line, measured, table, write
from quantizing.minilm import minilm

PATTERNS = ("unstructured", "2:4", "4:8", "block:16x16", "block:32x1", "block:1x32", "block:128x16")
PLANS = [
    *(
        f"mask{{{'' if pattern == 'unstructured' else f'pattern={pattern} '}importance={importance}}}"
        for pattern in PATTERNS
        for importance in ("magnitude", "wanda", "sparsegpt")
    ),
    "mask{importance=magnitude scope=row}",
    "mask{importance=magnitude scope=global}",
    "mask{importance=wanda scope=local}",
    "mask{importance=wanda scope=global}",
    "mask{importance=sparsegpt scope=row}",
    "mask{importance=random}",
    *(
        f"mask{{sparsity={share} importance={one}}}"
        for share in (0.3, 0.7)
        for one in ("magnitude", "wanda", "sparsegpt")
    ),
]


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows: list[Row] = []
    for row in measured(minilm(options.samples), [plan for plan in PLANS if options.only in plan]):
        rows.append(row)
        print(line(row), file=sys.stderr, flush=True)
        write(options, rows)
    print(table(rows, "simple"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only pipelines with this text in them")
    parser.add_argument("--samples", type=int, default=64, help="pieces of text to calibrate on")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
