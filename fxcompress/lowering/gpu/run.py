"""The graph with calls of kernels for a GPU in the place of its linears."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sympy
import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.sizes import AT_HINTS, Binding
from fxcompress.contract.kernels import Device, Kernel, Linear
from fxcompress.graph.tensors import drop_unused, named_tensors
from fxcompress.lowering.claims import Claim
from fxcompress.lowering.gpu.choosing import Decision, decide
from fxcompress.lowering.gpu.linears import linear_claims, linear_of, together
from fxcompress.lowering.gpu.site import LinearSite, Made
from fxcompress.lowering.rewriting import drop_what_is_off, finish, split
from fxcompress.lowering.spelling import spell_as_linears


@dataclass
class Outcome:
    """What became of a graph.

    Attributes:
        lowered: by the name of the new call, what it calculates, by which kernel, and why.
        dense: by the name of a linear of floats that stays, the same.
        left: why layers with quantized weights stay as they are.
    """

    lowered: dict[str, dict[str, Any]] = field(default_factory=dict)
    dense: dict[str, dict[str, Any]] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)


def lower_for_gpu(
    module: GraphModule, selected: set[Node], kernels: Sequence[Kernel], device: Device, batch: int
) -> Outcome:
    """Put the fastest of `kernels` in the place of each linear among `selected`.

    Args:
        kernels: those to choose from.
        device: that times are predicted for.
        batch: what open sizes of the inputs stand for; 0 for those of the example.
    """
    spell_as_linears(module, selected)
    drop_what_is_off(module)
    outcome, made = Outcome(), Made()
    claims, outcome.left = linear_claims(module, selected)
    binding = binding_for(module, batch)
    stored = [path for path, _ in named_tensors(module)]
    for claimed in together(module, claims):
        linear = linear_of(module, claimed, binding)
        _lower(module, claimed, linear, decide(linear, kernels, device), made, outcome)
    module.graph.eliminate_dead_code()
    drop_unused(module, stored)
    return outcome


def binding_for(module: GraphModule, batch: int) -> Binding:
    """Return what the open first sizes of inputs stand for: `batch`, or nothing where that is 0."""
    if not batch:
        return AT_HINTS
    found: dict[sympy.Symbol, sympy.Integer] = {}
    for node in module.graph.find_nodes(op="placeholder"):
        value: Any = node.meta.get("val")
        if isinstance(value, torch.Tensor) and value.dim():
            size: Any = value.shape[0]
            if isinstance(size, torch.SymInt) and size.node.expr.is_Symbol:
                found[size.node.expr] = sympy.Integer(batch)
    return found


def _lower(
    module: GraphModule, claims: list[Claim], linear: Linear, decision: Decision, made: Made, outcome: Outcome
) -> None:
    if decision.kernel is None:
        why = "; ".join(dict.fromkeys(f"{name}: {reason}" for name, reason in decision.refused.items()))
        outcome.left.update(dict.fromkeys(linear.layers, f"no kernel takes it ({why})"))
    elif decision.kernel.name == "dense":
        # Of a linear in floats whose weight is full there is nothing to decide.
        outcome.dense[linear.layers[0]] = told(linear, decision)
    else:
        call = decision.kernel.build(linear, LinearSite(module, claims, linear, made))
        place(module, call, claims, made)
        outcome.lowered[call.name] = told(linear, decision)


def place(module: GraphModule, call: Node, claims: Sequence[Claim], made: Made) -> None:
    """Let all that reads `claims` read `call`, or their parts of it."""
    first = min(claims, key=lambda claim: claim.layer).layer
    call._rename(f"{first.name}_lowered")
    parts = [call] if len(claims) == 1 else split(module, call, claims)
    for claim, part in zip(claims, parts, strict=True):
        finish(claim, part)
        made.replace(claim.last, part)


def told(linear: Linear, decision: Decision) -> dict[str, Any]:
    """Return what details say of a linear."""
    assert decision.kernel is not None
    return {
        "kind": decision.kernel.name,
        "layers": list(linear.layers),
        "rows": linear.rows,
        "features": linear.features,
        "outputs": linear.outputs,
        "bits": linear.weight.bits,
        "microseconds": {name: round(took, 2) for name, took in decision.microseconds.items()},
        "refused": decision.refused,
        "until_rows": decision.until,
        "then": decision.then,
    }
