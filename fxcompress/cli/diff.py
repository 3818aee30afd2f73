"""`fxcompress diff`: what is different between two models."""

from __future__ import annotations

import json
from pathlib import Path

import click

from fxcompress.cli.options import OUTPUT, json_option


@click.command()
@click.argument("before")
@click.argument("after")
@click.option("--stat", is_flag=True, help="A line a module instead of the nodes.")
@click.option("--html", type=OUTPUT, help="Write the two graphs side by side into this page.")
@json_option
def diff(before: str, after: str, stat: bool, html: Path | None, as_json: bool) -> None:
    """Show what changed from model BEFORE to model AFTER, each an artifact or a factory."""
    from fxcompress.cli.compress import check_writable
    from fxcompress.comparison import diff as compare
    from fxcompress.files import write_text
    from fxcompress.models import captured_model, find_model

    check_writable(html)
    sides = [captured_model(find_model(name)) for name in (before, after)]
    found = compare(*sides, labels=(before, after))
    if html is not None:
        write_text(html, found.to_html())
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2))
    else:
        click.echo(found.stat() if stat else str(found))
