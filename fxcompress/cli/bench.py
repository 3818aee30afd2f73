"""`fxcompress bench`: how long models take, side by side in one process."""

from __future__ import annotations

import json

import click

from fxcompress.cli.options import json_option


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--seconds", type=float, default=5.0, show_default=True, help="Time to spend on all of them.")
@json_option
def bench(models: tuple[str, ...], seconds: float, as_json: bool) -> None:
    """Time one call of each MODEL in turn, round by round, so that drift of the machine hits all alike.

    The first is the baseline of the ratios. A model without example inputs of its own is given the first one's.
    """
    from tabulate import tabulate

    from fxcompress.benchmark import time_models
    from fxcompress.models import find_model

    rows = time_models([find_model(name) for name in models], seconds)
    if as_json:
        click.echo(json.dumps([row.to_dict() for row in rows], indent=2))
        return
    table = [
        (row.name, f"{row.median * 1e3:.3f} ms", f"± {row.spread * 1e3:.3f} ms", f"{row.ratio:.2f}x") for row in rows
    ]
    click.echo(
        tabulate(
            table,
            headers=("model", "median", "spread", "speed"),
            tablefmt="simple",
            colalign=("left",) + ("right",) * 3,
        )
    )
