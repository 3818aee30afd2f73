"""Processor seconds that pruning takes, beside Torch-Pruning in turns, and how they grow with the depth of a model.

    python benchmarks/pruning_speed.py --json benchmarks/results/pruning_speed.json

Architectures of torchvision with random weights, one image of 224x224, half of the channels by the l2 norm over all
that goes with them. `pass` is our analysis and rewrite of a graph that was captured before, `peer` the constructor and
`step()` of Torch-Pruning, which traces the model itself; `with capture` adds our capture, and `whole call` is
`fxc.compress` as users call it, with every verification and the diff. Then encoders of 12 to 96 layers: seconds and
peak memory (of Python and numpy) a layer. Everything runs on one thread, and its processor time is taken, which is that
of the clock on an idle machine.

Needs: pip install --no-deps torchvision==0.28.0 torch-pruning==1.6.1
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from pruning.counting import parameters
from pruning.growth import growth, largest_ratio, one_depth
from pruning.instruments import CpuSeconds
from pruning.peer import peer_version, prune_in_place
from pruning.results import Row, progress, write_json
from tabulate import tabulate
from zoo_models import import_torchvision

import fxcompress as fxc

MODELS = ("resnet50", "densenet121", "mobilenet_v3_large", "convnext_tiny", "efficientnet_v2_s")
DEPTHS = (12, 24, 48, 96)
PIPELINE = "prune{ratio=0.5 importance=group-norm round_to=1}"


def main() -> int:
    options = _options()
    if options.depth:
        print(json.dumps(one_depth(options.depth, options.rounds, options.pipeline)))
        return 0
    peer_version()
    torch.set_num_threads(1)
    image = torch.randn(1, 3, 224, 224)
    rows = [measured(name, image, options.rounds, options.pipeline) for name in options.models]
    depths = growth(Path(__file__), options.depths, options.rounds, options.pipeline)
    print(tabulate([_cells(row) for row in rows], headers=HEADERS))
    print(summary(rows), "\n")
    print(tabulate([list(row.values()) for row in depths], headers=list(depths[0]) if depths else [], floatfmt=".4g"))
    found = {name: largest_ratio(depths, name) for name in ("seconds_a_layer", "bytes_a_layer")} if depths else {}
    print("\n".join(f"{name}: the largest is {ratio:.2f} times the smallest" for name, ratio in found.items()))
    content = {"pipeline": options.pipeline, "summary": summary(rows), "models": rows}
    write_json(options.json, fxc.Inputs(image), **content, growth=depths, growth_ratios=found)
    return 0 if all(row["status"] == "ok" for row in rows) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=list(MODELS), help="names of torchvision")
    parser.add_argument("--depths", nargs="*", type=int, default=list(DEPTHS), help="layers of the encoders")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pipeline", default=PIPELINE)
    parser.add_argument("--quick", action="store_true", help="one model, two depths, one round: to see that it works")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--depth", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.models, options.depths, options.rounds = ["resnet18"], [2, 4], 1
    return options


def measured(name: str, image: torch.Tensor, rounds: int, pipeline: str) -> Row:
    """Return median seconds of either tool on one model; what either raises becomes the row's message."""
    import_torchvision()
    from torchvision import models

    torch.manual_seed(0)
    model = models.get_model(name, weights=None).eval()
    row: Row = {"model": name, "status": "ok", "parameters": parameters(model)}
    tools: list[Callable[..., Row]] = [ours, peers]
    taken: list[Row] = []
    for _ in range(rounds):
        for tool in tools:
            try:
                taken.append(tool(model, image, pipeline))
            except Exception as error:
                return row | {"status": "failed", "message": f"{tool.__name__}: {type(error).__name__}: {error}"[:1000]}
        # They take turns in going first.
        tools.reverse()
    row |= {key: statistics.median(one[key] for one in taken if key in one) for key in (*taken[0], *taken[1])}
    row |= {"ratio": row["peer"] / row["pass"], "ratio_with_capture": row["peer"] / (row["capture"] + row["pass"])}
    progress("  ".join(map(str, _cells(row))))
    return row


def ours(model: torch.nn.Module, image: torch.Tensor, pipeline: str) -> Row:
    """Return seconds of capture, of the pass, and of the call; captured anew, so that no analysis is cached."""
    gc.collect()
    start = time.process_time()
    captured = fxc.capture(model, (image,))
    capture = time.process_time() - start
    # What capture left behind would be collected in the middle of the pass.
    gc.collect()
    start = time.process_time()
    result = fxc.compress(captured, None, pipeline, instruments=[CpuSeconds()])
    whole = capture + time.process_time() - start
    left = parameters(result.module) / parameters(model)
    return {"capture": capture, "pass": result.stages[0].measurements["cpu_seconds"], "whole": whole, "left": left}


def peers(model: torch.nn.Module, image: torch.Tensor, _: str) -> Row:
    """Return seconds of Torch-Pruning, which changes the model in place: on a copy, whose making is not counted."""
    network = copy.deepcopy(model)
    head = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    gc.collect()
    start = time.process_time()
    prune_in_place(network, image, 0.5, head, "local")
    return {"peer": time.process_time() - start, "peer_left": parameters(network) / parameters(model)}


HEADERS = (
    "model", "pass s", "peer s", "peer / pass", "with capture s", "peer / with capture", "whole call s",
    "parameters left", "peer's",
)  # fmt: skip


def _cells(row: Row) -> list[str]:
    if row["status"] != "ok":
        return [row["model"], row["message"]]
    with_capture = row["capture"] + row["pass"]
    seconds = (row["pass"], row["peer"], row["ratio"], with_capture, row["ratio_with_capture"], row["whole"])
    return [row["model"], *(f"{one:.2f}" for one in seconds), f"{row['left']:.1%}", f"{row['peer_left']:.1%}"]


def summary(rows: Sequence[Row]) -> str:
    """Return a line with the ratios in the median."""
    good = [row for row in rows if row["status"] == "ok"]
    if not good:
        return "no model was measured on both sides"
    alone, whole = (statistics.median(row[key] for row in good) for key in ("ratio", "ratio_with_capture"))
    return (
        f"{len(good)} of {len(rows)} models; Torch-Pruning takes {alone:.1f} times as long as analysis and rewrite, "
        f"{whole:.1f} times as long as those with capture (medians)"
    )


if __name__ == "__main__":
    sys.exit(main())
