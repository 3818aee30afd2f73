"""`fxcompress inspect`: the graph of a model, what its parts cost, which of its axes can lose slots, a file's bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from fxcompress.cli.options import json_option, plugin_option
from fxcompress.errors import UsageError

if TYPE_CHECKING:
    from fxcompress.analysis.cost import Cost
    from fxcompress.capturing import Captured


@click.command()
@click.argument("model")
@click.option("--graph", is_flag=True, help="The graph, which is shown anyway where MODEL is no artifact.")
@click.option("--cost", is_flag=True, help="Parameters, bytes and multiplications of each module instead of the graph.")
@click.option("--axes", is_flag=True, help="Which axes can lose slots, exactly or not, and what pins the others.")
@click.option("--why", metavar="PATH[:DIM]", help="Why the slots of a tensor are pinned, or what goes with them.")
@plugin_option
@json_option
def inspect(
    model: str, graph: bool, cost: bool, axes: bool, why: str | None, names: tuple[str, ...], as_json: bool
) -> None:
    """Show what an artifact spends its bytes on, or the graph of a factory's model; what its parts cost, its axes."""
    views = {"graph": graph, "cost": cost, "axes": axes, "why": why}
    given = [f"--{name}" for name, value in views.items() if value]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} show different things", hint="give one of them")
    if not given and model.endswith(".fxc"):
        from fxcompress.targets import list_artifact

        listing = list_artifact(model)
        click.echo(json.dumps(listing.to_dict(), indent=2) if as_json else str(listing))
        return
    from fxcompress.models import captured_model, find_model

    captured = captured_model(find_model(model))
    if axes or why is not None:
        as_dict, as_text = axes_of(captured, why, names)
    else:
        as_dict, as_text = cost_of(captured) if cost else graph_of(captured, model)
    click.echo(json.dumps(as_dict, indent=2) if as_json else as_text)
    for note in captured.notes:
        click.echo(f"note: {note}", err=True)


def graph_of(captured: Captured, model: str) -> tuple[dict[str, object], str]:
    """Return the nodes of a graph, for programs and as text."""
    from fxcompress.inspect import snapshot

    shot = snapshot(captured.module, model)
    return shot.to_dict(), str(shot)


def cost_of(captured: Captured) -> tuple[dict[str, object], str]:
    """Return a cost, for programs and as text."""
    from dataclasses import asdict

    from fxcompress.analysis.cost import cost

    found = cost(captured.module, inputs=captured.inputs)
    return asdict(found), cost_table(found)


def axes_of(captured: Captured, query: str | None, names: tuple[str, ...]) -> tuple[dict[str, object], str]:
    """Return the groups of a graph, or the answer to a query, for programs and as text."""
    from fxcompress.analysis.axes import analyse, group_table, why
    from fxcompress.plugins import Plugins

    found = analyse(captured.module, Plugins(names).axis_rules)
    shown = group_table(found) if query is None else why(found, query)
    return shown.to_dict(), str(shown)


def cost_table(found: Cost) -> str:
    """Return a line a module and a line of totals, then what is not counted."""
    from tabulate import tabulate

    rows = [(row.scope or "(top)", row.kind, row.params, row.bytes, row.macs) for row in found.by_scope]
    rows.append(("total", "", found.params, found.bytes, found.macs))
    text = tabulate(rows, headers=("module", "kind", "params", "bytes", "MACs"), tablefmt="simple", intfmt=",")
    return "\n".join((text, *(f"not counted: %{name}, {why}" for name, why in found.unknown.items())))
