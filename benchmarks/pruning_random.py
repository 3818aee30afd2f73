"""Random networks, pruned and compared with themselves under zeros; permuting their slots must change nothing either.

    python benchmarks/pruning_random.py --count 2000

Seeds from `--first` on. A network that fails is told by its seed and its parts, and then made smaller: the fewest
blocks with which the same seed still fails. The exit status is 1 if any failed.
"""

from __future__ import annotations

import argparse
import collections
import importlib
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

TESTS = Path(__file__).parent.parent / "tests"
sys.path[:0] = [str(TESTS / "pruning"), str(TESTS / "analysis" / "axes")]
checks, models = (importlib.import_module(name) for name in ("random_checks", "random_models"))


def main() -> int:
    options = _options()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    outcomes, failed = [], []
    start = time.perf_counter()
    for seed in tqdm(range(options.first, options.first + options.count), disable=not sys.stderr.isatty()):
        found = outcome(seed)
        if isinstance(found, str):
            failed.append(seed)
            print(f"seed {seed}: {found}\n  smallest: {smallest(seed)}", flush=True)
        else:
            outcomes.append(found)
    _tell(outcomes, failed, time.perf_counter() - start)
    return 1 if failed else 0


def outcome(seed: int, blocks: int | None = None) -> Any:
    """Return what was found of the network of a seed, or as a text how it fails."""
    model, given = models.random_model(seed, blocks)
    try:
        found = checks.checked(model, given, seed)
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]} in {models.describe(model)}"
    return found if found.holds else f"{found} in {models.describe(model)}"


def smallest(seed: int) -> str:
    """Return how the network of a seed with the fewest blocks fails."""
    for blocks in range(1, 7):
        found = outcome(seed, blocks)
        if isinstance(found, str):
            return f"random_model({seed}, blocks={blocks}): {found}"
    return "none of another number of blocks fails"


def _tell(outcomes: list[Any], failed: list[int], seconds: float) -> None:
    groups, exact = sum(one.groups for one in outcomes), sum(one.exact for one in outcomes)
    print(f"{len(outcomes)} networks hold, {len(failed)} fail {failed or ''}, {seconds:.0f} s")
    if outcomes:
        print(f"{groups} free groups, {exact} of them exact; largest error {max(one.error for one in outcomes):.1e},")
        print(f"permuted {max(one.permuted for one in outcomes):.1e}; groups a network: {_spread(outcomes)}")


def _spread(outcomes: list[Any]) -> str:
    counts = [one.groups for one in outcomes]
    none = collections.Counter(counts)[0]
    return f"median {statistics.median(counts)}, most {max(counts)}, {none} networks without any"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="how many networks")
    parser.add_argument("--first", type=int, default=1000, help="the first seed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
