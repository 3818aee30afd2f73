"""Activations that one range does not suit: a few large values leave all others but few integers."""

from __future__ import annotations

from collections.abc import Sequence

from fxcompress.contract import PassContext
from fxcompress.quantizing.activations import Activation, may_go_by_token
from fxcompress.text import listing, plural

# Decibels. In MiniLM, activations have 30 to 35 with one range, but for those around the perceptrons: 19 to 28.
ENOUGH = 28.0
# What ranges of tokens have to win to be worth their passes over the activation.
GAIN = 6.0


def outliers(activations: Sequence[Activation]) -> list[Activation]:
    """Return those with one range that are far from what they would be with a range for each token."""
    static = [one for one in activations if one.kind == "tensor" and may_go_by_token(one)]
    return [one for one in static if one.static_db < ENOUGH and one.token_db >= one.static_db + GAIN]


def round_outliers(activations: list[Activation], *, by_token: bool, context: PassContext) -> list[Activation]:
    """Return `activations`, outliers with a range for each token where that is wished; a note names them."""
    found = outliers(activations)
    if not found:
        return activations
    context.details["outliers"] = {one.value.name: (one.static_db, one.token_db) for one in found}
    layers = listing([f"%{reader.name}" for one in found for reader, _ in one.readers])
    worst = min(found, key=lambda one: one.static_db)
    figures = f"down to {worst.static_db:.0f} dB in %{worst.value.name}, by token {worst.token_db:.0f} dB"
    if not by_token:
        context.note(
            f"one range suits {plural(len(found), 'activation')} badly, {figures}: outliers=token rounds token by "
            f"token for {layers};  smooth  before makes large channels smaller"
        )
        return activations
    context.note(f"rounded token by token for {layers}, since one range suits badly, {figures}")
    return joined([Activation(one.value, "token", one.readers) if one in found else one for one in activations])


def joined(activations: Sequence[Activation]) -> list[Activation]:
    """Return one item for all that read a value in the same way, in the order of the graph."""
    found: dict[tuple[object, str], Activation] = {}
    for one in activations:
        known = found.setdefault((one.value, one.kind), one)
        if known is not one:
            known.readers = [*known.readers, *one.readers]
    return list(found.values())
