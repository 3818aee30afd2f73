"""How axes, pins and calls are spelled, and finding the axes that a name means."""

from __future__ import annotations

from collections.abc import Mapping

from torch.fx import Node

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.axis import Axis, Pin, Value
from fxcompress.analysis.axes.terms import PRODUCT, Term, factors, find, summands
from fxcompress.errors import UsageError
from fxcompress.text import listing, suggestion


def axis_name(axis: Axis) -> str:
    """Return `layer1.0.conv1.weight:0` or `%relu:1`; `%split[2]:1` for one of several results."""
    several = isinstance(axis.value.node.meta.get("val"), list | tuple)
    return f"{axis.value}{f'[{axis.value.index}]' if several else ''}:{axis.dim}"


def called(node: Node) -> str:
    """Return what a node calls, `aten.conv2d`; the kind of node where it calls nothing."""
    packet = getattr(node.target, "overloadpacket", node.target)
    return str(packet) if node.op == "call_function" else node.op


def reason(pin: object) -> str:
    """Return the text of a pin without its place, the same for all calls of a kind."""
    return pin.text if isinstance(pin, Pin) else str(pin)


def said(pin: object) -> str:
    """Return a pin as a sentence: which call, or which result or input, wants the slots to stay, and why."""
    if not isinstance(pin, Pin):
        return str(pin)
    whole = pin.node.op in ("output", "placeholder") and pin.axis is not None
    subject = axis_name(pin.axis) if whole and pin.axis is not None else f"%{pin.node.name}"
    colon = ":" if pin.text.startswith(("the ", "its ")) else ""
    return f"{subject}{colon} {pin.text}"


def factors_text(term: Term, places: Mapping[int, int]) -> str:
    """Return what a term is made of, factors major to minor: `.0 * .1 + .0 * .2` for the leaves with these places."""
    term = find(term)
    if id(term) in places:
        return f".{places[id(term)]}"
    if term.kind == PRODUCT:
        texts = [factors_text(factor, places) for factor in factors(term)]
        return " * ".join(f"({text})" if " + " in text else text for text in texts)
    return " + ".join(factors_text(part, places) for part in summands(term))


def axes_named(axes: Axes, query: str) -> list[Axis]:
    """Return the axes that `PATH`, `PATH:DIM`, `%NODE` or `%NODE:DIM` means.

    Raises:
        UsageError: there is no such tensor, with the nearest names, or it has no such dim.
    """
    name, colon, dim = query.partition(":")
    values = _values(axes, name)
    found = [axis for value in values for axis in value.axes]
    if not colon:
        return found
    sizes = {len(value.axes) for value in values}
    count = max(sizes)
    if not dim.lstrip("-").isdigit() or not -count <= int(dim) < count:
        raise UsageError(f"{name} has no dim {dim!r}", hint=_dims(count))
    return [axis for axis in found if axis.dim == int(dim) % count]


def _dims(count: int) -> str:
    return (
        f"its dims are 0 to {count - 1}" if count > 1 else ("its only dim is 0" if count else "it is a single number")
    )


def _values(axes: Axes, name: str) -> list[Value]:
    known = {_node_name(node): row for node, row in axes.values.items() if any(value is not None for value in row)}
    if name in known:
        return [value for value in known[name] if value is not None]
    below = [one for one in known if one.startswith(f"{name}.")]
    if below:
        raise UsageError(f"{name} is a module", hint=f"below it there are: {listing(below)}")
    names = [one for one in known if one.startswith("%") == name.startswith("%")]
    raise UsageError(f"the graph reads no tensor {name!r}", hint=suggestion(name, names))


def _node_name(node: Node) -> str:
    return str(node.target) if node.op == "get_attr" else f"%{node.name}"
