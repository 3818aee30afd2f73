"""`fxcompress inspect`: the graph of a model, and what its parts cost."""

from __future__ import annotations

import json

import click

from fxcompress.cli.options import json_option


@click.command()
@click.argument("model")
@click.option("--cost", is_flag=True, help="Parameters, bytes and multiplications of each module instead of the graph.")
@json_option
def inspect(model: str, cost: bool, as_json: bool) -> None:
    """Show the graph of MODEL, an artifact or a factory."""
    from fxcompress.analysis.cost import cost as count_cost
    from fxcompress.models import find_model
    from fxcompress.compiler import captured_from
    from fxcompress.inspect import snapshot

    named = find_model(model)
    captured = captured_from(named.model, named.inputs, "batch", runs=False)
    if cost:
        found = count_cost(captured.module)
        click.echo(json.dumps(found.to_dict(), indent=2) if as_json else str(found))
        return
    shot = snapshot(captured.module, named.name)
    click.echo(json.dumps(shot.to_dict(), indent=2) if as_json else str(shot))
    for note in captured.notes:
        click.echo(f"note: {note}", err=True)
