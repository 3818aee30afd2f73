"""What a pass tells of a graph that was lowered for a GPU: which kernel calculates each linear, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fxcompress.contract import PassContext
from fxcompress.contract.kernels import Device, Kernel
from fxcompress.errors import PassFailed
from fxcompress.lowering.gpu.run import Outcome
from fxcompress.text import listing, plural, suggestion

# They take quantized weights alone.
QUANTIZED = ("weight-only", "int8", "fp8")


def chosen_kernels(known: Mapping[str, Kernel], names: Sequence[str]) -> list[Kernel]:
    """Return the kernels of those names, all where none are given; what stays dense may always.

    Raises:
        PassFailed: there is no such kernel, with the nearest name.
    """
    for name in names:
        if name not in known:
            raise PassFailed(f"there is no kernel {name!r}", hint=suggestion(name, known))
    return [kernel for name, kernel in known.items() if not names or name in names or name == "dense"]


def tell_gpu(context: PassContext, found: Outcome, device: Device) -> None:
    """Note for every linear which kernel calculates it and why; linears that are alike share a note."""
    for why in dict.fromkeys(found.left.values()):
        names = [f"%{name}" for name, reason in found.left.items() if reason == why]
        context.note(f"{listing(names)}: left as it is, {why}")
    alike: dict[str, list[str]] = {}
    linears = [made for made in (*found.lowered.values(), *found.dense.values()) if made["kind"] != "embedding"]
    for made in linears:
        names = [f"%{name}" for name in made["layers"]]
        alike.setdefault(reason(made), []).append(" with ".join(names))
    for text, layers in alike.items():
        context.note(f"{listing(layers)}: {text}")
    if found.fused:
        context.note(f"{plural(found.fused, 'norm or activation')} round to 8 bits what linears read")
    if alike:
        context.note(f"times are predicted for {device.name} ({device.arch}), from its bandwidth and its rates")
    else:
        context.note("no linear is quantized or sparse: there is nothing to lower")


def reason(made: Mapping[str, Any]) -> str:
    """Return which kernel calculates a linear, what it is predicted to take, and what the others would."""
    took, chosen = made["microseconds"], made["kind"]
    shape = f"{made['rows']} rows, {made['features']} to {made['outputs']}"
    others = [f"{name} {other:g}" for name, other in took.items() if name != chosen]
    beside = f" ({', '.join(others)})" if others else ""
    until = "" if made["until_rows"] is None else f", from {made['until_rows']} rows on {made['then']}"
    refused = "" if chosen != "dense" else "".join(f"; no {name}: {why}" for name, why in unusual(made).items())
    return f"{chosen} for {shape}: {took[chosen]:g} us{beside}{until}{refused}"


def unusual(made: Mapping[str, Any]) -> dict[str, str]:
    """Return why kernels refuse a dense linear, but for those that it is too plain for."""
    return {name: why for name, why in made["refused"].items() if name not in QUANTIZED}
