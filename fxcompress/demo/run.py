"""The demo's job, from training to comparison."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from tabulate import tabulate

from fxcompress.comparison import diff
from fxcompress.compiler import Result, compress
from fxcompress.demo.digits import BATCH, UNSEEN, load_images, trained
from fxcompress.files import write_text
from fxcompress.recipe import Recipe
from fxcompress.targets import Artifact, load_artifact

RECIPE = Path(__file__).with_name("digits.toml")


def run_demo(folder: Path, progress: Callable[[str], None], recipe: Path = RECIPE) -> str:
    """Train, compress, evaluate, save, load, compare; return what to show.

    Files in `folder`: the trained weights, the artifact, the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cache = folder / "digits.safetensors"
    progress("load the digits" if cache.is_file() else "train a network on 1,297 digit images (first use only)")
    made = trained(cache)
    chosen = Recipe.read(recipe)
    result = compress(
        made["model"],
        made["inputs"],
        chosen.pipeline,
        calibration=made["calibration"],
        train=made["train"],
        evaluate=made["evaluate"],
        seed=chosen.seed,
        progress=progress,
    )
    artifact, page = folder / "digits.fxc", folder / "digits.html"
    result.save(artifact)
    progress("measure before and after")
    report = result.report.named(f"DigitNet, evaluated on {UNSEEN} digits it never saw")
    write_text(page, report.to_html())
    progress("load it again and compare")
    loaded = load_artifact(artifact)
    return "\n\n".join(
        (str(report), "What the passes did\n" + passes_text(result), comparison(result, loaded), files(folder))
    )


def passes_text(result: Result) -> str:
    """Return the diff of the first pass that changed the graph, and how to see the others."""
    stage = next(stage for stage in result.stages if stage.changed and stage.diff)
    lines = str(stage.diff).splitlines()
    shown = lines[:12] + ([f"... {len(lines) - 12} more lines"] if len(lines) > 12 else [])
    return "\n".join(shown)


def comparison(result: Result, loaded: Artifact) -> str:
    """Return how the loaded artifact compares with the module that was saved."""
    _, unseen = load_images()
    with torch.no_grad():
        same = all(torch.equal(result.module(p), loaded.module(p)) for p, _ in unseen.batches())
    rows = [
        ("results on all unseen digits", "the same to the bit" if same else "DIFFERENT"),
        ("graph", "no change" if not diff(result, loaded) else "CHANGED"),
        ("other batch sizes", f"1 and {BATCH + 1} run: {tuple(loaded.module(unseen.pixels[: BATCH + 1]).shape)}"),
    ]
    return "Saved and loaded again\n" + tabulate(rows, tablefmt="plain")


def files(folder: Path) -> str:
    """Return the files that were written, with their sizes."""
    rows = [(str(path), f"{path.stat().st_size:,} bytes") for path in sorted(folder.iterdir()) if path.is_file()]
    return "Files\n" + tabulate(rows, tablefmt="plain", colalign=("left", "right"))
