"""`fxcompress reproduce`: run a failed step again."""

from __future__ import annotations

from pathlib import Path

import click

from fxcompress.cli.options import plugin_option
from fxcompress.errors import UsageError


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@plugin_option
def reproduce(folder: Path, names: tuple[str, ...]) -> None:
    """Run the step again that failed with --reproduce FOLDER: the graph just before it, and that pass alone."""
    from fxcompress.compiler import compress
    from fxcompress.plugins import Plugins
    from fxcompress.targets import load_artifact

    try:
        text = (folder / "pipeline.txt").read_text(encoding="utf-8").strip()
        seed = int((folder / "seed.txt").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{str(folder)!r} holds no failed step: {why}", hint="--reproduce DIR leaves one") from error
    click.echo(f"running {text} on {folder / 'before.fxc'}", err=True)
    result = compress(load_artifact(folder / "before.fxc"), None, text, seed=seed, plugins=Plugins(names))
    click.echo(f"the step does not fail now\n{result.stages[0].diff}")
