"""`fxcompress compress`: run a pipeline on a model, save the result, show the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fxcompress.cli.options import FOLDER, OUTPUT, json_option, plugin_option, quiet_option
from fxcompress.cli.progress import Progress
from fxcompress.errors import UsageError

if TYPE_CHECKING:
    from fxcompress.compiler import Result
    from fxcompress.contract import Target


@click.command()
@click.argument("model")
@click.option("--pipeline", "text", metavar="TEXT", help="Passes to run: fold-bn,mask{sparsity=0.5},...")
@click.option("--recipe", type=OUTPUT, help="A TOML file with the pipeline in it.")
@click.option("-o", "--output", type=OUTPUT, help="Write the compressed model here (.fxc, .onnx, .pt2).")
@click.option("--target", metavar="NAME", help="What to write, where the suffix does not say it: onnx{opset=21}.")
@click.option(
    "--coding", metavar="NAME", help="How an artifact's tensors are coded: auto makes the file smallest (none)."
)
@click.option("--report", type=OUTPUT, help="Write the report here, a page in one file (.html).")
@click.option("--seed", type=int, default=None, help="Seed of every random choice (0).")
@click.option("--dynamic", type=click.Choice(["batch", "none"]), default=None, help="Which sizes stay open (batch).")
@click.option("--no-run", is_flag=True, help="Do not run the example inputs after every pass; the other checks stay.")
@click.option("--reproduce", type=FOLDER, help="A failing pass leaves the graph just before it in this folder.")
@click.option("--snapshots", type=FOLDER, help="Write the graph after every pass into this folder, as text.")
@click.option(
    "--timeout", type=float, default=None, metavar="SECONDS", help="Under torchrun, how long to wait for others (1800)."
)
@click.option("--trajectory", is_flag=True, help="Show what each pass lost and won back; evaluates after each.")
@click.option("-i", "--instrument", "instruments", multiple=True, metavar="NAME", help="Run an instrument of a plugin.")
@plugin_option
@json_option
@quiet_option
def compress(
    model: str,
    text: str | None,
    recipe: Path | None,
    output: Path | None,
    target: str | None,
    coding: str | None,
    report: Path | None,
    seed: int | None,
    dynamic: str | None,
    no_run: bool,
    reproduce: Path | None,
    snapshots: Path | None,
    timeout: float | None,
    trajectory: bool,
    instruments: tuple[str, ...],
    names: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Run a pipeline on MODEL: save the result with -o, show what it brought.

    \b
    fxcompress compress model.py:trained --pipeline "fold-bn,mask{sparsity=0.8}" -o small.fxc --report report.html

    \b
    Several processes share the work under torchrun:
    torchrun --nproc-per-node 2 -m fxcompress compress model.py:trained --pipeline ... -o small.fxc
    """
    check_writable(output, report)
    from fxcompress.compiler import compress as run_pipeline
    from fxcompress.distributed import is_first, started
    from fxcompress.distributed.starting import TIMEOUT
    from fxcompress.models import find_model
    from fxcompress.pipeline import Pipeline
    from fxcompress.plugins import Plugins
    from fxcompress.recipe import Recipe
    from fxcompress.targets import coded_by, target_for

    chosen = Recipe.choose(text, recipe)
    plugins = Plugins(names)
    pipeline = Pipeline.parse(chosen.pipeline, plugins)
    chosen_target = None if output is None else coded_by(target_for(output, target, plugins), coding)
    with started(TIMEOUT if timeout is None else timeout), Progress(quiet=quiet or not is_first()) as progress:
        named = find_model(model)
        progress("capture")
        result = run_pipeline(
            named.model,
            named.inputs,
            pipeline,
            calibration=named.calibration,
            train=named.train,
            evaluate=named.evaluate,
            teacher=named.teacher,
            seed=chosen.seed if seed is None else seed,
            dynamic=dynamic or chosen.dynamic,
            verify_run=not no_run,
            instruments=(*instruments, *(["trajectory"] if trajectory and "trajectory" not in instruments else [])),
            reproduce=reproduce,
            snapshots=snapshots,
            plugins=plugins,
            progress=progress,
        )
        if not is_first():
            return
        progress("measure before and after")
        finish(result, named.name, output, report, as_json, chosen_target, progress)


def check_writable(*paths: Path | None) -> None:
    """Raise UsageError, before anything is computed, where a file cannot be written because its folder is not there."""
    for path in paths:
        if path is not None and not path.resolve().parent.is_dir():
            raise UsageError(f"there is no folder {str(path.parent)!r} for {path.name}", hint="make it first")


def finish(
    result: Result,
    name: str,
    output: Path | None,
    report: Path | None,
    as_json: bool,
    target: Target | None = None,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Save the module and the page, and print the report."""
    from fxcompress.files import write_text

    if output is not None:
        result.save(output, target, progress=progress)
    measured = result.report.named(name)
    if output is not None:
        measured = measured.written(output.name, output.stat().st_size)
    if report is not None:
        write_text(report, measured.to_html())
    click.echo(json.dumps(measured.to_dict(), indent=2) if as_json else str(measured))
    if not as_json:
        for path in (output, report):
            if path is not None:
                click.echo(f"wrote {path} ({path.stat().st_size:,} bytes)")
