"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., None])


def plugin_option(command: Command) -> Command:
    """Add `-p`: plugins to load or to block."""
    return click.option(
        "-p", "--plugin", "names", multiple=True, metavar="NAME", help="Load a plugin; -p no:NAME blocks one."
    )(command)


def json_option(command: Command) -> Command:
    """Add `--json`: the results for programs."""
    return click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")(command)


def quiet_option(command: Command) -> Command:
    """Add `-q`: no progress."""
    return click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")(command)


OUTPUT = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
