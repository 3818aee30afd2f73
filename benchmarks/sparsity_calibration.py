"""Whether the order of importances on MiniLM is one of chance, and what the calibration texts have to do with it.

    python benchmarks/sparsity_calibration.py --json benchmarks/results/sparsity_calibration.json

Half of the weights go, by three importances and three patterns, calibrated on long texts (128 tokens), on short ones
(6 tokens), or on both. `above` tells for each metric how often, over 2,000 resamples of its pairs, the importance comes
out above magnitude with the same pattern; near 0.5 there is no telling.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from quantization_quality import Row, line, measured, write
from quantizing.minilm import SHORT, document_pairs, minilm, word_pairs
from quantizing.subject import Model, Subject
from scipy.stats import rankdata

Pairs = tuple[NDArray[np.float64], NDArray[np.float64]]
RESAMPLES = 2000
MAGNITUDE = "importance=magnitude"


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows: list[Row] = []
    for row in all_rows(minilm(options.samples)):
        rows.append(row)
        print(line(row), row.get("above", ""), file=sys.stderr, flush=True)
        write(options, rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=64, help="pieces of text to calibrate on")
    parser.add_argument("--json", type=Path)
    parser.set_defaults(markdown=None)
    return parser.parse_args()


def all_rows(subject: Subject) -> Iterator[Row]:
    """Yield a row for each plan and each kind of text; magnitude, which needs none, comes once."""
    short = [batch for batch in subject.calibration if batch["input_ids"].shape[1] == SHORT]
    long = [batch for batch in subject.calibration if batch["input_ids"].shape[1] != SHORT]
    known: dict[str, dict[str, Pairs]] = {}
    for name, texts in (("both", subject.calibration), ("long", long), ("short", short)):
        kept: dict[str, Pairs] = {}
        metrics = {"WordSim353": keeping(word_pairs, ranks, kept, "WordSim353")}
        metrics["Lee"] = keeping(document_pairs, np.asarray, kept, "Lee")
        some = replace(subject, name=f"{name} texts", calibration=texts, metrics=metrics)
        for row in measured(some, plans(("magnitude",) if name == "both" else ()) + plans(("wanda", "sparsegpt"))):
            plain = row["pipeline"].replace("importance=wanda", MAGNITUDE).replace("importance=sparsegpt", MAGNITUDE)
            if row["pipeline"] == plain:
                known[plain] = dict(kept)
            else:
                row["above"] = {one: above(kept[one], known[plain][one]) for one in kept}
            yield row


def plans(importances: tuple[str, ...]) -> list[str]:
    fronts = ("", "pattern=2:4 ", "pattern=4:8 ")
    return [f"mask{{{front}importance={one}}}" for front in fronts for one in importances]


def keeping(
    pairs: Callable[[Model], tuple[list[float], list[float]]],
    form: Callable[[list[float]], NDArray[np.float64]],
    kept: dict[str, Pairs],
    name: str,
) -> Callable[[Model], float]:
    """Return a metric, the correlation of what `form` makes of the pairs, that keeps these under `name`."""

    def metric(module: Model) -> float:
        found, rated = pairs(module)
        kept[name] = form(found), form(rated)
        return 100 * float(np.corrcoef(*kept[name])[0, 1])

    return metric


def ranks(values: list[float]) -> NDArray[np.float64]:
    return np.asarray(rankdata(values), np.float64)


def above(one: Pairs, other: Pairs) -> float:
    """Return in which share of resamples of the pairs the first correlation is above the second."""
    generator = np.random.default_rng(0)
    drawn = (generator.integers(0, len(one[0]), len(one[0])) for _ in range(RESAMPLES))
    wins = [correlation(one, places) > correlation(other, places) for places in drawn]
    return round(float(np.mean(wins)), 3)


def correlation(pairs: Pairs, places: np.ndarray) -> float:
    """Return Pearson's correlation of the pairs at `places`."""
    first, second = (row[places] for row in pairs)
    return float(np.corrcoef(first, second)[0, 1])


if __name__ == "__main__":
    main()
