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
from fxcompress.lowering.gpu.embeddings import lower_embeddings
from fxcompress.lowering.gpu.fusing import fuse_rounding
from fxcompress.lowering.gpu.gating import gated_pairs
from fxcompress.lowering.gpu.linears import linear_claims, linear_of, still_quantized, together
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
        fused: norms and activation functions that round what they give.
    """

    lowered: dict[str, dict[str, Any]] = field(default_factory=dict)
    dense: dict[str, dict[str, Any]] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    fused: int = 0


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
    claims, left = linear_claims(module, selected)
    stored = [path for path, _ in named_tensors(module)]
    run = Run(module, kernels, device, binding_for(module, batch))
    run.outcome.left.update(left)
    run.lower(claims)
    run.outcome.lowered.update(lower_embeddings(module, selected))
    module.graph.eliminate_dead_code()
    run.outcome.fused = fuse_rounding(module)
    module.graph.eliminate_dead_code()
    drop_unused(module, stored)
    run.outcome.left = {**still_quantized(module), **run.outcome.left}
    return run.outcome


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


@dataclass
class Run:
    """One lowering under way."""

    module: GraphModule
    kernels: Sequence[Kernel]
    device: Device
    binding: Binding
    made: Made = field(default_factory=Made)
    outcome: Outcome = field(default_factory=Outcome)

    def lower(self, claims: Sequence[Claim]) -> None:
        """Put calls in the place of `claims`: of pairs that gate first, then of those that become one, or alone."""
        gated: set[Node] = set()
        for pair in gated_pairs(claims):
            linear, decision = self._decide(pair, gated=True)
            if decision.took < sum(self._decide([one])[1].took for one in pair):
                self._replace(pair, pair[:1], linear, decision)
                gated |= {claim.layer for claim in pair}
        for batch in together(self.module, [claim for claim in claims if claim.layer not in gated]):
            self._replace(batch, batch, *self._decide(batch))

    def _decide(self, claims: Sequence[Claim], gated: bool = False) -> tuple[Linear, Decision]:
        linear = linear_of(self.module, claims, self.binding, gated)
        return linear, decide(linear, self.kernels, self.device)

    def _replace(self, claims: Sequence[Claim], read: Sequence[Claim], linear: Linear, decision: Decision) -> None:
        """Put the call of the chosen kernel in the place of `claims`, of which `read` are read by others."""
        if decision.kernel is None:
            why = "; ".join(f"{name}: {reason}" for name, reason in decision.refused.items())
            self.outcome.left.update(dict.fromkeys(linear.layers, f"no kernel takes it ({why})"))
        elif decision.kernel.name == "dense":
            self.outcome.dense[linear.layers[0]] = told(linear, decision)
        else:
            call = decision.kernel.build(linear, LinearSite(self.module, claims, linear, self.made))
            self._place(call, read)
            self.outcome.lowered[call.name] = told(linear, decision)

    def _place(self, call: Node, claims: Sequence[Claim]) -> None:
        """Let all that reads `claims` read `call`, or their parts of it."""
        first = min(claims, key=lambda claim: claim.layer).layer
        call._rename(f"{first.name}_lowered")
        parts = [call] if len(claims) == 1 else split(self.module, call, claims)
        for claim, part in zip(claims, parts, strict=True):
            finish(claim, part)
            self.made.replace(claim.last, part)


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
