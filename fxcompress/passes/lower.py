"""Lowering: quantized layers become calls of kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.sizes import concrete
from fxcompress.contract import Pass, PassContext, option, statistic
from fxcompress.errors import PassFailed
from fxcompress.graph.nodes import calls
from fxcompress.graph.shapes import propagate
from fxcompress.kernels.backends import BACKENDS, available, missing, why_missing
from fxcompress.lowering import choosing_convolution
from fxcompress.lowering.attention import lower_attention
from fxcompress.lowering.choosing import CANDIDATES, Choice, Shape, choose, usable
from fxcompress.lowering.claims import Claim, claim_of
from fxcompress.lowering.fusing import fuse
from fxcompress.lowering.holding import hold_floats, is_small_table
from fxcompress.lowering.merging import batches
from fxcompress.lowering.paths import look_up_owners_once
from fxcompress.lowering.raising import raise_quantization
from fxcompress.lowering.rewriting import calculate_unrounded, drop_what_is_off, faster_quantize, replace
from fxcompress.lowering.sparse import lower_sparse
from fxcompress.lowering.spelling import spell_as_linears
from fxcompress.lowering.tokens import Tokens
from fxcompress.text import listing, suggestion

aten = torch.ops.aten


@dataclass(frozen=True)
class Lower(Pass):
    """Let kernels calculate quantized layers in integers, the fastest for each shape.

    On processors with AVX-512 VNNI the backend `native` is C++ of ours, compiled at its first use where there is a
    compiler. Activations are quantized where they are made: activation functions, residuals, layer norms and the
    quantization of the result go into the call of the linear before. Attention in floats is a kernel too.

    Claimed are linears whose weight is int8 with a scale for each output, with activations quantized row by row
    (`w8a8`), quantized beforehand to uint8 (`w8a8-static`) or in floats (`w8a16`), linears with a scale for each group
    of features, 2d convolutions of uint8, and embeddings with a scale for each row. Relu, gelu and a quantization
    behind a static layer go into its call, so that bytes flow from layer to layer. Linears that read the same
    activation become one product. The stored tensors stay as they are; what a kernel wants packed is made at the first
    call.

    For each shape of the example inputs the backends that give the same are timed, once in a process. Where the
    pattern is faster as it stands it stays, and a note says so. With float activations the product is calculated with
    the activations in 16-bit fixed point, exactly in integers, where that is faster than keeping the weights as floats.
    A layer of `w8a8` that is faster in floats than with its activations rounded reads them as they are, and a table of
    few rows is kept in floats.

    Quantized linears whose weights are zero in blocks, of 16 or 32 outputs by 4 features at least, lose these when they
    are packed for `native`. Linears in floats whose stored weights are mostly zero become sparse products where that is
    faster for their zeros: `panels` and `rows` are kernels of ours, `columns` leaves out features that no output reads,
    `csr` is torch's.

    After it a graph does not train. The environment variable `FXCOMPRESS_WITHOUT` switches backends off.

    `details`: `lowered` maps each new call to its `kind`, `layers`, `backend` and the `microseconds` measured, sparse
    ones with their `density`; `left`
    maps layers that stay to the reason; `attention` is as `lowered`;
    `held` lists layers whose weights are kept as floats, `unrounded` those that read activations as they are.
    """

    name = "lower"
    fidelity = "close"
    masks = "baked"
    device: Literal["cpu"] = option("cpu", help="what the graph is to run on")
    backends: tuple[str, ...] = option((), help="backends to choose from; all where none are given")
    measure: bool = option(True, help="time the backends here; else a fixed order decides, and nothing stays")
    targets: tuple[str, ...] = option((), help="modules, nodes or parameters to lower; all where none are given")
    ignore: tuple[str, ...] = option((), help="modules, nodes or parameters to leave alone")
    layers = statistic("layers that kernels calculate")
    products = statistic("calls that they became")
    attentions = statistic("calls of attention in floats that our kernel calculates")
    left = statistic("quantized and sparse layers left as they are")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        self._tell_missing(context)
        # Once: afterwards calls of kernels stand under other names in the place of what a pattern may mean.
        selected = set(context.select(module, self.targets, self.ignore))
        spell_as_linears(module, selected)
        claims, left = _claims(module, selected)
        if claims:
            drop_what_is_off(module)
            raise_quantization(module)
            claims, left = _claims(module, selected)
        attention = self._attention(module, selected)
        lowered, unrounded = self._lower(module, context, claims, left)
        module.graph.eliminate_dead_code()
        fuse(module)
        held = [layer.name for layer in hold_floats(module)]
        sparse, dense = lower_sparse(module, selected, self.measure)
        lowered, left = {**lowered, **sparse}, {**left, **dense}
        faster_quantize(module)
        context.record(layers=len(sparse), products=len(sparse), left=len(left), attentions=len(attention))
        context.details.update(lowered=lowered, left=left, attention=attention, held=held, unrounded=unrounded)
        tell(context, lowered, left, held, unrounded)
        module.graph.eliminate_dead_code()
        propagate(module)
        look_up_owners_once(module)
        return module

    def _lower(
        self, module: GraphModule, context: PassContext, claims: list[Claim], left: dict[str, str]
    ) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """Put calls of kernels in the place of `claims`; add to `left` what stays.

        Returns:
            What to tell of each call, and the layers whose activations are rounded no more.
        """
        unrounded: list[str] = []
        lowered: dict[str, dict[str, Any]] = {}
        tokens = Tokens("native")
        for batch in batches(claims):
            choice = self._choice(batch) if self.measure else None
            if self.measure and is_small_table(batch[0]):
                continue
            if choice is not None and not choice.saves and not self.backends:
                calculate_unrounded(module, batch)
                unrounded += [claim.layer.name for claim in batch]
                continue
            if choice is not None and not choice.faster:
                slower = "the pattern is faster than every kernel for its shape"
                left.update({claim.layer.name: slower for claim in batch})
                continue
            backend = choice.backend if choice else self._unmeasured(batch)
            by_tokens = batch[0].kind == "dynamic" and backend == "native"
            made = tokens.replace(module, batch) if by_tokens else replace(module, batch, backend)
            lowered[made.name] = entry(batch, backend, choice)
            context.record(layers=len(batch), products=1)
        return lowered, unrounded

    def _attention(self, module: GraphModule, selected: set[Node]) -> dict[str, dict[str, Any]]:
        """Put calls of our kernel in the place of attention in floats, where that is faster."""
        if not available("native") or (self.backends and "native" not in self.backends):
            return {}
        return lower_attention(module, selected, self.measure)

    def _choice(self, batch: Sequence[Claim]) -> Choice | None:
        """Return the fastest backend as measured, None where there is but one way to calculate `batch`."""
        if batch[0].kind == "convolution":
            shape = choosing_convolution.shape_of(batch[0])
            return choosing_convolution.choose(shape, self.backends)
        return choose(shape_of(batch), self.backends) if batch[0].kind in CANDIDATES else None

    def _unmeasured(self, batch: Sequence[Claim]) -> str:
        """Return the backend that is preferred without timing."""
        if batch[0].kind == "convolution":
            shape = choosing_convolution.shape_of(batch[0])
            return choosing_convolution.usable(shape, self.backends)[0]
        return usable(shape_of(batch), self.backends)[0] if batch[0].kind in CANDIDATES else "float"

    def _tell_missing(self, context: PassContext) -> None:
        for name in self.backends:
            if name not in BACKENDS:
                raise PassFailed(f"there is no backend {name!r}", hint=suggestion(name, BACKENDS))
            if not available(name):
                context.note(f"{name} was asked for and is not there: the next best serves")
        reasons = {name: why_missing(name) for name in missing()}
        for why in dict.fromkeys(reasons.values()):
            context.note(f"{listing([name for name in reasons if reasons[name] == why])}: {why}")


def _claims(module: GraphModule, selected: set[Node]) -> tuple[list[Claim], dict[str, str]]:
    """Return what kernels can take over among `selected`, and why layers with quantized weights stay."""
    claims, left, taken = [], {}, set[Node]()
    for layer in calls(module.graph, aten.linear, aten.conv2d, aten.embedding):
        found = claim_of(module, layer, taken) if layer in selected else None
        if isinstance(found, str):
            left[layer.name] = found
        elif found is not None:
            claims.append(found)
    return claims, left


def shape_of(batch: Sequence[Claim]) -> Shape:
    """Return the shape of the product for the example inputs."""
    rows = math.prod(concrete(size) for size in batch[0].layer.meta["val"].shape[:-1])
    features = batch[0].weight.integers.meta["val"].shape[1]
    outputs = sum(claim.layer.meta["val"].shape[-1] for claim in batch)
    return Shape(batch[0].kind, rows, int(features), int(outputs), batch[0].weight.group)


def entry(batch: Sequence[Claim], backend: str, choice: Choice | None) -> dict[str, Any]:
    """Return what `details` say about a call."""
    microseconds = {} if choice is None else {**choice.microseconds, "pattern": choice.pattern}
    return {
        "kind": batch[0].kind,
        "layers": [claim.layer.name for claim in batch],
        "backend": backend,
        "microseconds": {name: round(took, 1) for name, took in microseconds.items()},
    }


def tell(
    context: PassContext,
    lowered: dict[str, dict[str, Any]],
    left: dict[str, str],
    held: Sequence[str],
    unrounded: Sequence[str],
) -> None:
    """Note what was left alone and why, which weights are kept as floats too, and which activations are not rounded."""
    for why in dict.fromkeys(left.values()):
        names = [f"%{name}" for name, reason in left.items() if reason == why]
        context.note(f"{listing(names)}: left as it is, {why}")
    floats = [name for name, made in lowered.items() if made["backend"] == "float" and made["kind"] != "embedding"]
    if names := [f"%{name}" for name in (*floats, *held)]:
        context.note(f"{listing(names)}: calculated in floats, with a copy of the weights as floats in memory")
    if unrounded:
        names = [f"%{name}" for name in unrounded]
        context.note(f"{listing(names)}: their activations are not rounded, that takes longer there than it saves")
    if not lowered and not left and not held:
        context.note("no layer is quantized or sparse: there is nothing to lower")
