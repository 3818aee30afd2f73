"""`fxcompress demo`: the main job on real input."""

from __future__ import annotations

from pathlib import Path

import click

from fxcompress.cli.options import FOLDER, quiet_option
from fxcompress.cli.progress import Progress


@click.command()
@click.option("--into", type=FOLDER, default=Path("demo-output"), show_default=True, help="Where the files go.")
@quiet_option
def demo(into: Path, quiet: bool) -> None:
    """Train a small network on real digits, compress, evaluate on digits it never saw, save, load again, compare."""
    from fxcompress.demo import run_demo

    with Progress(quiet=quiet) as progress:
        click.echo(run_demo(into, progress))
