"""Linears in floats whose weights are mostly zero: the form that is fastest for these weights, as measured here."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.sizes import concrete
from fxcompress.graph.nodes import argument, calls, is_call
from fxcompress.graph.tensors import tensor_of
from fxcompress.kernels.native.sparse import read_by
from fxcompress.kernels.native.weights import WIDTH, filled_up
from fxcompress.kernels.sparse import forms_here
from fxcompress.lowering.choosing import LARGEST_ROWS, interleaved
from fxcompress.lowering.rewriting import put_instead

aten, ops = torch.ops.aten, torch.ops.fxcompress
# What gives the same tensor at every call.
HELD = (ops.held_channels, ops.held_tensor, ops.held_groups, ops.held_product, ops.held_shared_weights)
# Above it nothing is worth a measurement.
DENSEST = 0.75
# Shares are told apart in steps of this size: weights that are alike are measured once.
STEP = 0.04
# So much faster has a form to be, and by so many microseconds: it keeps a copy of the weights, and in a model neither
# these nor the code of our call wait in the nearer caches, as they do where one layer is timed.
SURE, CALL = 1.15, 25.0
# Weights of panels that are multiplied in the time of one that stands for itself.
AS_MANY = 3


@dataclass(frozen=True)
class Likeness:
    """What the time of a sparse linear depends on: sizes, and which share of the weight each form keeps."""

    rows: int
    outputs: int
    features: int
    shares: tuple[float, ...]


def lower_sparse(module: GraphModule, selected: set[Node], measure: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Put sparse linears in the place of those whose stored weights are mostly zero, where that is faster.

    Returns:
        What to tell of each new call, and why layers with many zeros stay dense.
    """
    lowered: dict[str, Any] = {}
    left: dict[str, str] = {}
    for layer in calls(module.graph, aten.linear.default):
        weight = sparse_weight(module, layer) if layer in selected else None
        if weight is None:
            continue
        density = float(weight.count_nonzero()) / weight.numel()
        took = measured(likeness(layer, weight), weight) if measure else None
        form = fastest(took) if took else unmeasured(weight)
        if form == "dense":
            left[layer.name] = f"dense is as fast with {density:.0%} of its weights not zero"
            continue
        arguments = tuple(argument(layer, name) for name in ("input", "weight", "bias"))
        made = put_instead(module, layer, ops.linear_sparse.default, (*arguments, form), f"{layer.name}_lowered")
        microseconds = {name: round(each, 1) for name, each in (took or {}).items()}
        lowered[made.name] = {
            "kind": "sparse", "layers": [layer.name], "backend": form, "density": round(density, 4),
            "microseconds": microseconds,
        }  # fmt: skip
    return lowered, left


def sparse_weight(module: GraphModule, layer: Node) -> torch.Tensor | None:
    """Return the stored weight of a float32 linear on the CPU that has many zeros, None for any other."""
    weight = value_of(module, argument(layer, "weight"))
    if weight is None or weight.dtype != torch.float32 or weight.device.type != "cpu" or not weight.numel():
        return None
    given, bias = argument(layer, "input").meta["val"], tensor_of(module, argument(layer, "bias"))
    if given.dtype != torch.float32 or (argument(layer, "bias") is not None and bias is None):
        return None
    plain = weight.detach()
    return plain if int(plain.count_nonzero()) <= DENSEST * plain.numel() else None


def value_of(module: GraphModule, node: Any) -> torch.Tensor | None:
    """Return the stored tensor that `node` reads, or what it keeps as floats of stored ones; None for another node."""
    if not isinstance(node, Node) or not is_call(node, *HELD):
        return tensor_of(module, node)
    operands = [tensor_of(module, one) if isinstance(one, Node) else one for one in node.args]
    known = all(made is not None for made, one in zip(operands, node.args, strict=True) if isinstance(one, Node))
    made: torch.Tensor | None = node.target(*operands) if known else None  # type: ignore[operator]
    return made


def likeness(layer: Node, weight: torch.Tensor) -> Likeness:
    """Return what the time of `layer` depends on, for the example inputs."""
    rows = math.prod(concrete(size) for size in layer.meta["val"].shape[:-1])
    outputs, features = weight.shape
    shares = (share(weight != 0), share_of_panels(weight), share(weight.count_nonzero(0) > 0))
    return Likeness(max(1, min(rows, LARGEST_ROWS)), outputs, features, tuple(round(one / STEP) for one in shares))


def share_of_panels(weight: torch.Tensor) -> float:
    """Return which share of the weight panels of 16 outputs keep."""
    return share(read_by(filled_up(weight), WIDTH))


def share(chosen: torch.Tensor) -> float:
    return float(chosen.float().mean())


_known: dict[tuple[Likeness, tuple[str, ...], int], dict[str, float]] = {}


def measured(like: Likeness, weight: torch.Tensor) -> dict[str, float]:
    """Return the microseconds that each form takes here; weights that are alike are measured once in a process."""
    forms = forms_here()
    # Torch's products of compressed rows are slower than ours; columns are worth it where some are read by none.
    worthwhile = [form for form in forms if form != "csr" or "rows" not in forms]
    if like.shares[2] * STEP > 1 - STEP:
        worthwhile.remove("columns")
    key = like, tuple(worthwhile), torch.get_num_threads()
    if key not in _known:
        rows = torch.randn(like.rows, like.features, generator=torch.Generator().manual_seed(0))
        calls_of = {form: functools.partial(ops.linear_sparse, rows, weight, None, form) for form in worthwhile}
        # What stays dense is not a call of ours, which takes a while to begin.
        calls_of["dense"] = functools.partial(torch.nn.functional.linear, rows, weight)
        with torch.no_grad():
            _known[key] = interleaved(calls_of)
    return _known[key]


def fastest(took: dict[str, float]) -> str:
    """Return the form of least time; `dense` where that is hardly slower."""
    best = min(took, key=lambda form: took[form])
    return best if took[best] * SURE + CALL < took["dense"] else "dense"


def unmeasured(weight: torch.Tensor) -> str:
    """Return the form that few or bundled weights suggest: a weight of `rows` takes as long as some of `panels`."""
    bundled, single = share_of_panels(weight), AS_MANY * share(weight != 0)
    if min(bundled, single) > DENSEST:
        return "dense"
    return "panels" if bundled < single else "rows"
