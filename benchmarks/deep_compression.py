"""Deep Compression in bytes of files: prune, share weights, code; dense networks and files on all of MNIST.

    make data
    python benchmarks/deep_compression.py --model lenet-300-100 --seeds 5 --mnist .cache --keep KEEP --json FILE

For every seed a dense network is trained, then one pipeline takes it from sparsity to sparsity; at each it branches
off, lets the weights share values, trains these, and writes a `.fxc` file to --keep. `ratio` is the bytes of the
float32 parameters of the dense network by those of the whole file: graph, codebooks, biases, digests and all. What is
written is loaded again, and its error is that of what was loaded, on the 10,000 test images, which nothing else looks
at.

With --validate, the networks learn from 55,000 of the training images, and errors are those on the other 5,000: by that
the recipes in compressing/lenets.py were chosen. A run that was killed goes on from what lies in --keep.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from compressing.lenets import RECIPES, Recipe
from compressing.mnist import DEVIATION, MEAN, Feed, Images, Taught, answers, error, images, split
from tabulate import tabulate

import fxcompress as fxc
from fxcompress.capturing import Inputs
from fxcompress.compiler import Result
from fxcompress.files import write_text
from fxcompress.reporting import environment
from fxcompress.targets import load_artifact

SHIFT = 1


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    recipe = RECIPES[options.model]
    learned, judged = _images(options)
    options.keep.mkdir(parents=True, exist_ok=True)
    records: list[dict[str, Any]] = []
    began = time.perf_counter()
    for seed in range(options.seeds):
        for record in of_seed(recipe, options, seed, learned, judged):
            records.append(record)
            print(f"{time.perf_counter() - began:.0f} s", record, file=sys.stderr, flush=True)
            write_text(options.json, json.dumps(summary(options, records), indent=1) + "\n")
    print(table(records))


def of_seed(
    recipe: Recipe, options: argparse.Namespace, seed: int, learned: Images, judged: Images
) -> Iterator[dict[str, Any]]:
    """Yield a record of the dense network, then one of each file."""
    torch.manual_seed(seed)
    # With channels last, convolutions of few channels and their pooling take half of the time.
    network = recipe.build().eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # Blank images: the example is a part of the file.
    example = (torch.zeros(2, 1, 28, 28),)
    states = options.keep / f"states-{options.model}-{seed}"

    def run(model: Any, pipeline: str, known: torch.Tensor | None) -> Result:
        train = fxc.TrainingData(Feed(learned, recipe.batch, SHIFT, known), Taught(recipe.soft))
        text = pipeline.replace("finetune{", f"finetune{{resume={states} ")
        return fxc.compress(model, example, text, train=train, seed=seed, diffs=False)

    dense = run(network, recipe.dense, None)
    bytes_before = 4 * sum(one.numel() for one in network.parameters())
    common = {"model": options.model, "seed": seed}
    dense_error = error(dense.module, judged)
    yield {**common, "file": None, "bytes": bytes_before, "ratio": 1.0, "error": dense_error, "settings": recipe.dense}
    if options.dense:
        return
    known = answers(dense.module, learned)
    smaller = run(dense, recipe.before, known) if recipe.before else dense
    before, steps = 0.0, recipe.before
    for share in recipe.sparsities if seed < options.frontier else recipe.sparsities[:1]:
        masks = f"{recipe.masks(before, share)},{recipe.recovered}"
        smaller, before = run(smaller, masks, known), share
        steps = f"{steps},{masks}".strip(",")
        for values in recipe.values:
            shared = f"cluster{{values={values} biases=true}},{recipe.tuned}"
            path = options.keep / f"{options.model}-seed{seed}-sparsity{share}-values{values}.fxc"
            save(run(smaller, shared, known), path)
            size = path.stat().st_size
            yield {
                **common,
                "file": path.name,
                "sparsity": share,
                "values": values,
                "bytes": size,
                "ratio": bytes_before / size,
                "error": error(load_artifact(path).module, judged),
                "masked_error": error(smaller.module, judged),
                "nonzero": nonzero(smaller.module),
                "settings": f"{steps},{shared}",
            }


def save(result: Result, path: Path) -> None:
    result.save(path, coding="auto")


def nonzero(module: torch.nn.Module) -> int:
    """Return how many weights are left."""
    masks = [one for name, one in module.named_buffers() if one.dtype == torch.bool]
    return sum(int(one.count_nonzero()) for one in masks)


def summary(options: argparse.Namespace, records: list[dict[str, Any]]) -> dict[str, Any]:
    dense = [one["error"] for one in records if one["file"] is None]
    bytes_before = next(one["bytes"] for one in records if one["file"] is None)
    return {
        "model": options.model,
        "dense_error": statistics.mean(dense),
        "dense_errors": dense,
        "dense_bytes": bytes_before,
        "dense_settings": RECIPES[options.model].dense,
        "mean": MEAN,
        "std": DEVIATION,
        "images": "5,000 held out of the training images" if options.validate else "10,000 test images",
        "environment": environment(Inputs(torch.zeros(RECIPES[options.model].batch, 1, 28, 28))),
        "records": [one for one in records if one["file"] is not None],
    }


def table(records: list[dict[str, Any]]) -> str:
    """Return the means over the seeds, one row for each kind of file."""
    kinds = dict.fromkeys((one.get("sparsity"), one.get("values")) for one in records)
    rows = []
    for sparsity, values in kinds:
        same = [one for one in records if (one.get("sparsity"), one.get("values")) == (sparsity, values)]
        errors, sizes = [one["error"] for one in same], [one["bytes"] for one in same]
        spread = f"{min(errors):.2f} to {max(errors):.2f}"
        ratio = statistics.mean(one["ratio"] for one in same)
        rows.append(
            (sparsity, values, len(same), round(statistics.mean(sizes)), ratio, statistics.mean(errors), spread)
        )
    headers = ("sparsity", "values", "seeds", "bytes", "ratio", "error %", "from - to")
    return tabulate(rows, headers, floatfmt=("g", "g", "g", "g", ".1f", ".3f", ""), missingval="dense")


def _images(options: argparse.Namespace) -> tuple[Images, Images]:
    whole = images(options.mnist, "train")
    return split(whole) if options.validate else (whole, images(options.mnist, "t10k"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=RECIPES, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--mnist", type=Path, default=Path(".cache"), help="folder with the archive or its files")
    parser.add_argument("--keep", type=Path, required=True, help="folder for the files, and for the state of a run")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--frontier", type=int, default=1, help="seeds that go on to the higher sparsities")
    parser.add_argument("--dense", action="store_true", help="train the dense networks only")
    parser.add_argument("--validate", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
