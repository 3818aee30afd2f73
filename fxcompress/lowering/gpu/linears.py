"""The linears of a graph as kernels for a GPU are offered them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.sizes import Binding, concrete
from fxcompress.contract.kernels import Linear, Rounding, Weight
from fxcompress.graph.nodes import argument, calls
from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.graph.tensors import Sources, tensor_of
from fxcompress.kernels.gpu.nibbles import HIGHEST, LOWEST
from fxcompress.lowering.claims import ON_GPU, Claim, claim_of, unfit, with_epilogue
from fxcompress.lowering.merging import batches
from fxcompress.lowering.stored_weights import Quantized, small_floats_of, weight_of

aten = torch.ops.aten
_ROUNDING: dict[str, Rounding] = {"dynamic": "tokens", "fp8": "tokens", "static": "static"}


def linear_claims(module: GraphModule, selected: set[Node]) -> tuple[list[Claim], dict[str, str]]:
    """Return what can be claimed of the linears among `selected`, and why others stay.

    A linear of stored floats is claimed too: its zeros may be worth a kernel.
    """
    claims: list[Claim] = []
    left: dict[str, str] = {}
    for layer in calls(module.graph, aten.linear.default):
        found = _claim(module, layer) if layer in selected else None
        if isinstance(found, str):
            left[layer.name] = found
        elif found is not None:
            claims.append(found)
    return claims, left


def _claim(module: GraphModule, layer: Node) -> Claim | str | None:
    found = claim_of(module, layer, takes=ON_GPU)
    if found is not None:
        return _plain_kind(found) if isinstance(found, Claim) else found
    given, weight, bias = (argument(layer, name) for name in ("input", "weight", "bias"))
    small = small_floats_of(module, weight)
    stored = tensor_of(module, weight)
    if small is None and (stored is None or stored.dim() != 2 or stored.dtype != given.meta["val"].dtype):
        return None
    why = unfit(module, given, bias, ON_GPU)
    if why is not None:
        return why if small is not None else None
    if small is not None:
        return Claim("fp8", layer, given, small, bias, layer)
    return Claim("floats", layer, given, Quantized(weight, None), bias, layer)


def _plain_kind(claim: Claim) -> Claim:
    """Return a claim of a linear alone: what stands behind it is looked at once it is known what becomes one."""
    return replace(claim, last=claim.layer, post="none", output=None)


def together(module: GraphModule, claims: Sequence[Claim]) -> list[list[Claim]]:
    """Return the claims in groups that can be one product; one that stays alone has its epilogue."""
    sources, taken = Sources(module), set[Node]()
    found = []
    for batch in batches(claims, lambda claim: _key(sources, claim)):
        found.append(batch if len(batch) > 1 else [with_epilogue(batch[0], taken)])
    return found


def _key(sources: Sources, claim: Claim) -> object | None:
    """Return what is alike in claims that can be one product, None for one that has to stay alone.

    Their weights become one tensor, so nothing else may read these.
    """
    stored = [one for one in (claim.weight.integers, claim.weight.scales, claim.weight.zeros) if one is not None]
    shared = len(argument(claim.layer, "weight").users) > 1 or any(len(sources.readers(one)) > 1 for one in stored)
    if claim.kind == "floats" or shared:
        return None
    source, step = float_source(claim)
    return claim.kind, source, step, claim.weight.group, claim.weight.zeros is None, _shape(claim.weight.scales)


def _shape(scales: Node | None) -> tuple[int, ...]:
    return () if scales is None else tuple(scales.meta["val"].shape[1:])


def float_source(claim: Claim) -> tuple[Node, tuple[float, int] | None]:
    """Return the node of x in floats, and of x that is rounded by one range its scale and zero point."""
    if claim.kind != "static":
        return claim.given, None
    quantize = argument(claim.given, "input")
    step = float(argument(claim.given, "scale")), int(argument(claim.given, "zero_point"))
    return argument(quantize, "input"), step


def linear_of(module: GraphModule, claims: Sequence[Claim], binding: Binding, gated: bool = False) -> Linear:
    """Return claims that become one as a kernel is offered them, for sizes that are bound by `binding`."""
    first = claims[0]
    value = first.layer.meta["val"]
    rows = math.prod(concrete(size, binding) for size in value.shape[:-1])
    return Linear(
        layers=tuple(claim.layer.name for claim in claims),
        rows=rows,
        dtype=value.dtype,
        weight=weight_of_all(module, claims),
        rounding=_ROUNDING.get(first.kind, "none"),
        step=float_source(first)[1],
        activation=first.post,
        biased=any(claim.bias is not None for claim in claims),
        residual=first.residual is not None,
        gated=gated,
    )


def weight_of_all(module: GraphModule, claims: Sequence[Claim]) -> Weight:
    """Return the weights of claims as one, one below the other."""
    parts = [claim.weight for claim in claims]
    values = _joined(module, [part.integers for part in parts])
    if parts[0].scales is None:
        return Weight(values)
    zeros = None if parts[0].zeros is None else _joined(module, [part.zeros for part in parts])
    narrow = values.dtype == torch.int8 and bool(values.min() >= LOWEST) and bool(values.max() <= HIGHEST)
    return Weight(values, _joined(module, [part.scales for part in parts]), zeros, parts[0].group, 4 if narrow else 8)


def _joined(module: GraphModule, nodes: Sequence[Any]) -> torch.Tensor:
    found = [stored_in(module, node) for node in nodes]
    return found[0] if len(found) == 1 else torch.cat(found)


def stored_in(module: GraphModule, node: Any) -> torch.Tensor:
    """Return the stored tensor that `node` reads, turned where the graph keeps it transposed."""
    turned = isinstance(node, Node) and node.target is torch.ops.fxcompress.held_transposed.default
    found = tensor_of(module, node.args[0] if turned else node)
    assert found is not None
    plain = found.detach()
    return plain.t().contiguous() if turned else plain


def still_quantized(module: GraphModule) -> dict[str, str]:
    """Return the layers that read stored integers or 8-bit floats as floats, which are made at every call."""
    decomposed = quantized_decomposed()
    why = "no kernel for a GPU takes it, and its weight becomes floats at every call"
    names = (decomposed.dequantize_per_channel, decomposed.dequantize_per_channel_group, aten.mul.Tensor)
    found: dict[str, str] = {}
    for node in calls(module.graph, *names):
        stored = weight_of(module, node) is not None or small_floats_of(module, node) is not None
        found.update({user.name: why for user in node.users if stored})
    return found
