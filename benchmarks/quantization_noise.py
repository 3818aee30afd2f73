"""How far the metrics of a quantized MiniLM-L6 can be trusted: calibrated on other texts, measured on other pairs.

    python benchmarks/quantization_noise.py --json benchmarks/results/quantization_noise.json

Each pipeline is run with several sets of calibration texts, or once where it needs none. `change` is the metric less
that in float32: its mean, and its standard deviation over the sets. `error` is the standard error of one such change by
1,000 bootstrap samples: of pairs of words for WordSim353; of documents for Lee, whose pairs have documents in common.
`agreement` is the correlation of the similarities with those in float32, which is what a change of the metric consists
of and has far less noise. `sqnr` is that of the states of 16 pieces of text.

A run goes on where the one before it was stopped: pipelines that the file has are left out.

Needs what `quantization_quality.py` needs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measured import Row as Row
from measured import write_rows
from quantizing.minilm import calibration, document_pairs, exported, unseen, word_pairs
from quantizing.resampling import Drawn, documents, pairs, pearson, spearman
from quantizing.subject import sqnr
from tabulate import tabulate

import fxcompress as fxc

SAMPLES, DRAWS = 64, 1000
PLANS = [
    "quantize{scheme=w4a16}",
    "quantize{scheme=w4a16 rounding=gptq}",
    "quantize{scheme=w8a8}",
    "quantize{scheme=w8a8-static}",
    "quantize{scheme=w8a8-static observer=percentile}",
    "quantize{scheme=w8a8-static outliers=token}",
    "quantize{scheme=w4a16 rounding=learned}",
    "smooth{insert=true},quantize{scheme=w8a8-static}",
    "quantize{scheme=w8a8-static bias_correction=true}",
]
Similarities = dict[str, np.ndarray[Any, Any]]


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    captured = fxc.capture(exported(), unseen())
    judge = Judge(captured.module)
    rows = known(options.json)
    for plan in PLANS:
        if options.only not in plan or any(row["pipeline"] == plan for row in rows):
            continue
        rows.append({"pipeline": plan, **judge.row(list(modules(captured, plan, options.sets)))})
        print(tabulate([cells(rows[-1])], tablefmt="plain"), file=sys.stderr, flush=True)
        write_rows(options.json, rows, sets=options.sets, draws=DRAWS)
    print(tabulate([cells(row) for row in rows], ["pipeline", "WordSim353", "Lee", "SQNR, dB"], "pipe"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=5, help="of calibration texts")
    parser.add_argument("--only", default="", help="only pipelines with this text in them")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def known(path: Path | None) -> list[Row]:
    """Return the rows that a run before has written."""
    if path is None or not path.exists():
        return []
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return rows


def modules(captured: fxc.Captured, plan: str, sets: int) -> Iterator[torch.nn.Module]:
    """Yield what `plan` makes with each set of calibration texts; one module where it looks at none."""
    looks = any(word in plan for word in ("static", "gptq", "learned", "smooth"))
    for seed in range(sets if looks else 1):
        data = calibration(SAMPLES, seed)
        yield fxc.compress(captured, None, plan, calibration=data, verify_run=False, diffs=False).module


class Judge:
    """Compares modules with the one in float32."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.people = {"WordSim353": np.array(word_pairs(module)[1]), "Lee": np.array(document_pairs(module)[1])}
        self.plain, self.states = similarities(module), states(module)
        self.correlation: dict[str, Callable[..., float]] = {"WordSim353": spearman, "Lee": pearson}
        self.draws: dict[str, list[Drawn]] = {
            "WordSim353": pairs(len(self.people["WordSim353"]), DRAWS),
            "Lee": documents(len(self.people["Lee"]), DRAWS),
        }

    def row(self, given: list[torch.nn.Module]) -> Row:
        """Return the figures of a pipeline, which gave one module or one for each set of calibration texts."""
        found = [similarities(module) for module in given]
        return {
            "sqnr": statistics.mean(sqnr(self.states, states(module)) for module in given),
            **{name: self._figures(name, [one[name] for one in found]) for name in self.plain},
        }

    def _figures(self, name: str, found: list[np.ndarray[Any, Any]]) -> dict[str, Any]:
        changes = [self._change(name, one, slice(None)) for one in found]
        drawn = [[self._change(name, one, places) for places in self.draws[name]] for one in found]
        return {
            "changes": changes,
            "change": statistics.mean(changes),
            "deviation": statistics.stdev(changes) if len(changes) > 1 else None,
            "error": statistics.mean(map(statistics.stdev, drawn)),
            "agreement": statistics.mean(self.correlation[name](one, self.plain[name]) for one in found),
        }

    def _change(self, name: str, found: np.ndarray[Any, Any], places: Drawn | slice) -> float:
        correlation, people = self.correlation[name], self.people[name][places]
        return correlation(found[places], people) - correlation(self.plain[name][places], people)


def similarities(module: torch.nn.Module) -> Similarities:
    return {"WordSim353": np.array(word_pairs(module)[0]), "Lee": np.array(document_pairs(module)[0])}


def states(module: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = module(**unseen())
    return found


def cells(row: Row) -> list[str]:
    """Return a row of the table."""
    return [f"`{row['pipeline']}`", *(_figure(row[name]) for name in ("WordSim353", "Lee")), f"{row['sqnr']:.1f}"]


def _figure(one: Row) -> str:
    over = "" if one["deviation"] is None else f" ± {one['deviation']:.2f}"
    return f"{one['change']:+.2f}{over} (error {one['error']:.2f}, agreement {one['agreement']:.2f})"


if __name__ == "__main__":
    main()
