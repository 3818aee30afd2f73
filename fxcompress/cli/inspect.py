"""`fxcompress inspect`: the graph of a model, and what its parts cost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from fxcompress.cli.options import json_option

if TYPE_CHECKING:
    from fxcompress.analysis.cost import Cost


@click.command()
@click.argument("model")
@click.option("--cost", is_flag=True, help="Parameters, bytes and multiplications of each module instead of the graph.")
@json_option
def inspect(model: str, cost: bool, as_json: bool) -> None:
    """Show the graph of MODEL, an artifact or a factory, or with --cost what its parts cost."""
    from fxcompress.analysis.cost import cost as count_cost
    from fxcompress.inspect import snapshot
    from fxcompress.models import captured_model, find_model

    captured = captured_model(find_model(model))
    if cost:
        found = count_cost(captured.module, inputs=captured.inputs)
        click.echo(json.dumps(cost_dict(found), indent=2) if as_json else cost_table(found))
    else:
        shot = snapshot(captured.module, model)
        click.echo(json.dumps(shot.to_dict(), indent=2) if as_json else str(shot))
    for note in captured.notes:
        click.echo(f"note: {note}", err=True)


def cost_dict(found: Cost) -> dict[str, object]:
    """Return a cost as plain JSON values."""
    from dataclasses import asdict

    return asdict(found)


def cost_table(found: Cost) -> str:
    """Return a line a module and a line of totals, then what is not counted."""
    from tabulate import tabulate

    rows = [(row.scope or "(top)", row.kind, row.params, row.bytes, row.macs) for row in found.by_scope]
    rows.append(("total", "", found.params, found.bytes, found.macs))
    text = tabulate(rows, headers=("module", "kind", "params", "bytes", "MACs"), tablefmt="simple", intfmt=",")
    return "\n".join((text, *(f"not counted: %{name}, {why}" for name, why in found.unknown.items())))
