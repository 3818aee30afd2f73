"""What quantized layers read beside their weights: found, measured where ranges are static, and rounded once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch.fx import GraphModule, Node

from fxcompress.calibration import Observer, calibrate
from fxcompress.capturing import Inputs
from fxcompress.contract import PassContext
from fxcompress.graph.nodes import argument, is_call
from fxcompress.graph.operators import CONVOLUTIONS, EMBEDDINGS, LINEAR, TRANSPOSED_CONVOLUTIONS
from fxcompress.quantizing.nodes import narrow, round_by_sample, round_dynamically, round_statically
from fxcompress.quantizing.spread import INTEGERS, Spread
from fxcompress.schemes import Scheme
from fxcompress.text import listing, plural
from fxcompress.weights import Weight, stored_behind

aten = torch.ops.aten

# For every layer: its two operands, of which either may be the weight.
PRODUCTS: dict[Any, tuple[str, str]] = {
    aten.mm: ("self", "mat2"),
    aten.bmm: ("self", "mat2"),
    aten.matmul: ("self", "other"),
    aten.addmm: ("mat1", "mat2"),
    aten.baddbmm: ("batch1", "batch2"),
}
_LAYERS: dict[Any, tuple[str, str]] = {
    **dict.fromkeys((*LINEAR, *CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS), ("input", "weight")),
    **PRODUCTS,
}
Kind = Literal["token", "sample", "whole", "tensor", "bf16"]
# The axes of an image without a batch, for each convolution.
_UNBATCHED: dict[Any, int] = {
    aten.conv1d: 2,
    aten.conv2d: 3,
    aten.conv3d: 4,
    aten.conv_transpose1d: 2,
    aten.conv_transpose2d: 3,
    aten.conv_transpose3d: 4,
}


@dataclass
class Activation:
    """A value that layers read rounded.

    Attributes:
        value: the node that gives it.
        kind: a range for each token, for each sample (index of axis 0), for the whole of an image without a batch, one
            that calibration found for the tensor, or bfloat16.
        readers: the layers, each with the name of the operand.
        scale, zero: of a static range, once it is known.
        symmetric: its zero point is in the middle, or 0 where nothing is negative.
        static_db, token_db: the signal to noise ratios that this range leaves, and ranges of tokens would.
    """

    value: Node
    kind: Kind
    readers: list[tuple[Node, str]] = field(default_factory=list)
    scale: float = 1.0
    zero: int = 0
    static_db: float = math.inf
    token_db: float = math.inf
    symmetric: bool = False


def activations_of(chosen: list[tuple[Weight, Scheme]], context: PassContext) -> list[Activation]:
    """Return what the layers of quantized weights read, one item for all that read a value in the same way.

    What cannot be rounded is named in a note.
    """
    found: dict[tuple[Node, Kind], Activation] = {}
    left: dict[str, list[str]] = {}
    for weight, scheme in chosen:
        if scheme.activation == "none":
            continue
        for reader in (one for one in weight.readers if not is_call(one, *EMBEDDINGS)):
            operand = _operand(reader, weight)
            kind = _kind(scheme, reader)
            why = _hindrance(reader, operand, kind)
            if why is not None:
                left.setdefault(why, []).append(f"%{reader.name}")
            else:
                assert operand is not None
                value = argument(reader, operand)
                one = found.setdefault((value, kind), Activation(value, kind))
                one.readers.append((reader, operand))
    if found:
        layers = plural(sum(len(one.readers) for one in found.values()), "layer")
        context.note(f"{plural(len(found), 'activation')} {'is' if len(found) == 1 else 'are'} rounded, for {layers}")
    for why, names in left.items():
        context.note(f"{listing(list(dict.fromkeys(names)))}: only weights are quantized, {why}")
    return list(found.values())


def _kind(scheme: Scheme, reader: Node) -> Kind:
    if scheme.format == "bf16":
        return "bf16"
    if scheme.activation == "static":
        return "tensor"
    axes = next((axes for packet, axes in _UNBATCHED.items() if is_call(reader, packet)), None)
    if axes is None:
        return "token"
    # A sum of a convolution goes over several tokens, and never over several images.
    return "whole" if argument(reader, "input").meta["val"].dim() == axes else "sample"


def _operand(reader: Node, weight: Weight) -> str | None:
    """Return the operand of `reader` that `weight` is multiplied with, None for other layers than products."""
    names = next((pair for packet, pair in _LAYERS.items() if is_call(reader, packet)), None)
    if names is None:
        return None
    given = {name: argument(reader, name) for name in names}
    others = [name for name, node in given.items() if not set(stored_behind(node)) & set(weight.sources)]
    return others[0] if len(others) == 1 else None


def _hindrance(reader: Node, operand: str | None, kind: Kind) -> str | None:
    """Return why what `reader` multiplies its weight with cannot be rounded, None where it can."""
    if operand is None:
        return "it is no product of one stored weight"
    value = argument(reader, operand)
    if stored_behind(value) or value.op == "get_attr":
        return "both operands are stored"
    if kind in ("tensor", "sample", "whole") and value.meta["val"].dtype == torch.float64:
        return "the operators that quantize take no float64"
    if kind == "token" and is_call(reader, *PRODUCTS) and operand == _second(reader):
        return "the sums of a product with a weight on the left go over several tokens"
    return None


def may_go_by_token(one: Activation) -> bool:
    """Whether all that read an activation are layers that could read it with a range for each token."""
    return all(_takes_tokens(reader, operand) for reader, operand in one.readers)


def _takes_tokens(reader: Node, operand: str) -> bool:
    """Whether the sums of `reader`, a product with a stored weight, go over one token of `operand` each."""
    if is_call(reader, *LINEAR):
        return operand == "input"
    first = is_call(reader, *PRODUCTS) and operand != _second(reader)
    return first and bool(stored_behind(argument(reader, _second(reader))))


def _second(reader: Node) -> str:
    return next(pair[1] for packet, pair in PRODUCTS.items() if is_call(reader, packet))


def measure(
    module: GraphModule,
    activations: list[Activation],
    batches: Iterable[Inputs],
    make: Callable[[Node], Observer],
    context: PassContext,
) -> None:
    """Find the static ranges on the calibration data, before anything is rounded.

    Raises:
        InputError: a batch does not fit.
    """
    static = {one.value: one for one in activations if one.kind == "tensor"}

    def spread(node: Node) -> Spread:
        return Spread(make(node), tokens=may_go_by_token(static[node]))

    for node, seen in calibrate(module, list(static), batches, spread, context.say).items():
        scales, zeros = seen.observer.parameters(0, INTEGERS, symmetric=False)
        one = static[node]
        if one.symmetric and int(zeros):
            scales, zeros = seen.observer.parameters(0, INTEGERS, symmetric=True)
        one.scale, one.zero = float(scales), int(zeros)
        one.static_db, one.token_db = seen.static_db(one.scale), seen.token_db()


def insert_activations(module: GraphModule, activations: list[Activation]) -> dict[str, dict[str, object]]:
    """Round every activation just before the first layer that reads it; return facts by the nodes' names."""
    found: dict[str, dict[str, object]] = {}
    for one in activations:
        facts: dict[str, object] = {"readers": [reader.name for reader, _ in one.readers]}
        if one.kind == "token":
            round_dynamically(module, one.value, one.readers)
        elif one.kind in ("sample", "whole"):
            round_by_sample(module, one.value, one.readers, one.kind == "sample")
        elif one.kind == "bf16":
            narrow(module, one.value, torch.bfloat16, one.readers)
        else:
            round_statically(module, one.value, one.scale, one.zero, one.readers)
            facts |= {"scale": one.scale, "zero": one.zero}
        # What linears and convolutions read is rounded in two ways.
        name = one.value.name if one.value.name not in found else f"{one.value.name} ({one.kind})"
        found[name] = facts
    return found
