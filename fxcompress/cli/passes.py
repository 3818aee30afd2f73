"""`fxcompress passes`: the passes that are installed, and their manual pages."""

from __future__ import annotations

import click

from fxcompress.cli.options import plugin_option


@click.command()
@click.argument("name", required=False)
@plugin_option
def passes(name: str | None, names: tuple[str, ...]) -> None:
    """List the passes, or show the manual page of the pass NAME."""
    from fxcompress.manual import overview, page
    from fxcompress.plugins import Plugins

    plugins = Plugins(names)
    click.echo(overview(plugins) if name is None else page(plugins.passes.get(name)))
