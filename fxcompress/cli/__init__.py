"""The command line. Nothing here imports torch before a command runs, so that `--help` answers at once."""

from __future__ import annotations

import os
import sys

import click

from fxcompress.cli.bench import bench
from fxcompress.cli.compress import compress
from fxcompress.cli.demo import demo
from fxcompress.cli.diff import diff
from fxcompress.cli.inspect import inspect
from fxcompress.cli.passes import passes
from fxcompress.cli.plugins import plugins
from fxcompress.cli.reproduce import reproduce
from fxcompress.cli.tune import tune
from fxcompress.errors import FxcompressError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="fxcompress", message="%(package)s %(version)s")
def group() -> None:
    """Make trained PyTorch models smaller and faster, and show what every pass did.

    A MODEL is named path/to/file.py:factory or package.module:factory; the factory takes no arguments and returns
    (model, example_inputs), or a dict with the keys model, inputs and, where there are any, calibration, evaluate,
    train. Most commands take an artifact (.fxc) in its place.
    """


for command in (compress, diff, inspect, passes, plugins, bench, tune, reproduce, demo):
    group.add_command(command)


def told(error: FxcompressError) -> str:
    """Return what is printed of an error; by other processes than the first one of torchrun a line is enough."""
    rank = os.environ.get("RANK", "0") if os.environ.get("WORLD_SIZE", "1") != "1" else "0"
    return f"error: {error}" if rank == "0" else f"rank {rank}: error: {error.message.splitlines()[0]}"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 a pass or check failed, 2 the call was wrong."""
    try:
        group.main(args=arguments, prog_name="fxcompress", standalone_mode=False)
    except FxcompressError as error:
        click.echo(told(error), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        click.echo("stopped", err=True)
        sys.exit(130)
