"""`fxcompress plugins`: what is installed, and a skeleton for a new one."""

from __future__ import annotations

from pathlib import Path

import click

from fxcompress.cli.options import FOLDER, plugin_option


@click.group(invoke_without_command=True)
@plugin_option
@click.pass_context
def plugins(context: click.Context, names: tuple[str, ...]) -> None:
    """List the plugins that load, or write a skeleton with `new`."""
    if context.invoked_subcommand is not None:
        return
    from tabulate import tabulate

    from fxcompress.plugins import Plugins

    rows = [(one.name, one.origin, ", ".join(one.hooks)) for one in Plugins(names).loaded]
    click.echo(tabulate(rows, headers=("plugin", "from", "hooks"), tablefmt="simple"))


@plugins.command()
@click.argument("name")
@click.option("--into", type=FOLDER, default=Path("."), help="The folder to write it into (here).")
def new(name: str, into: Path) -> None:
    """Write the skeleton of a plugin named NAME: package, entry point, a pass, and tests that pass."""
    from fxcompress.skeleton import write_skeleton

    folder = write_skeleton(name, into)
    click.echo(f"wrote {folder}\n  pip install -e {folder}\n  pytest {folder}\n  fxcompress passes {name}")
