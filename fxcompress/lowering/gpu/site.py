"""The place of a linear in the graph: what a kernel reads there, and where its calls and tensors go."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.contract.kernels import Linear
from fxcompress.graph.nodes import scope_meta
from fxcompress.graph.tensors import add_tensor
from fxcompress.lowering.claims import Claim
from fxcompress.lowering.gpu.linears import float_source, stored_in
from fxcompress.lowering.rewriting import move_up_stored
from fxcompress.lowering.stored_weights import as_stored

aten, ops = torch.ops.aten, torch.ops.fxcompress
_FUNCTIONS: dict[str, tuple[Any, dict[str, str]]] = {
    "relu": (aten.relu.default, {}),
    "gelu": (aten.gelu.default, {}),
    "gelu_tanh": (aten.gelu.default, {"approximate": "tanh"}),
    "silu": (aten.silu.default, {}),
}


class Made:
    """What was put into a graph so far: inputs in 8 bits, by what they are made of, and what stands in whose place."""

    def __init__(self) -> None:
        self._rounded: dict[object, tuple[Node, Node]] = {}
        self._instead: dict[Node, Node] = {}

    def rounded(self, key: object, make: Callable[[], tuple[Node, Node]]) -> tuple[Node, Node]:
        if key not in self._rounded:
            self._rounded[key] = make()
        return self._rounded[key]

    def replace(self, old: Node, new: Node) -> None:
        self._instead[old] = new

    def now(self, node: Node) -> Node:
        """Return what stands in the place of `node`: claims were made before other layers became calls."""
        while node in self._instead:
            node = self._instead[node]
        return node


class LinearSite:
    """See `fxcompress.contract.kernels.Site`; of several claims the tensors are one, stored at the first."""

    def __init__(self, module: GraphModule, claims: Sequence[Claim], linear: Linear, made: Made) -> None:
        self.module, self.claims, self.linear = module, claims, linear
        first = min(claims, key=lambda claim: claim.layer)
        move_up_stored(claims, first.layer)
        # A residual may be calculated behind the layer.
        self.place = first.last if first.residual is not None else first.layer
        self.path = str(as_stored(first.weight.integers).target)
        self.given = made.now(float_source(first)[0])
        self._made, self._layer = made, first.layer

    @property
    def weight(self) -> Node:
        stored = self.claims[0].weight.integers
        if len(self.claims) == 1 and stored.op == "get_attr":
            return stored
        return self.store("joined", self.linear.weight.values)

    @property
    def scales(self) -> Node | None:
        return self._one_of("scales", self.linear.weight.scales)

    @property
    def zeros(self) -> Node | None:
        return self._one_of("zeros", self.linear.weight.zeros)

    def _one_of(self, name: str, joined: torch.Tensor | None) -> Node | None:
        if len(self.claims) == 1 or joined is None:
            found: Node | None = getattr(self.claims[0].weight, name)
            return found
        return self.store(f"joined_{name}", joined)

    def parts(self) -> list[tuple[Node, Node | None, Node | None]]:
        return [(claim.weight.integers, claim.weight.scales, claim.weight.zeros) for claim in self.claims]

    @property
    def bias(self) -> Node | None:
        if len(self.claims) == 1:
            return self.claims[0].bias
        joined = self.bias_values()
        return None if joined is None else self.store("joined_bias", joined)

    def bias_values(self) -> torch.Tensor | None:
        if all(claim.bias is None for claim in self.claims):
            return None
        sizes = [int(claim.layer.meta["val"].shape[-1]) for claim in self.claims]
        parts = [
            torch.zeros(size, dtype=self.linear.dtype) if claim.bias is None else stored_in(self.module, claim.bias)
            for claim, size in zip(self.claims, sizes, strict=True)
        ]
        return torch.cat([part.to(self.linear.dtype) for part in parts])

    @property
    def residual(self) -> Node | None:
        given = self.claims[0].residual
        return None if given is None else self._made.now(given)

    def call(self, target: Any, *args: Any, **kwargs: Any) -> Node:
        with self.module.graph.inserting_before(self.place):
            node = self.module.graph.create_node("call_function", target, args, kwargs)
        node.meta = scope_meta(self._layer)
        return node

    def store(self, name: str, value: torch.Tensor) -> Node:
        return add_tensor(self.module, f"{self.path}_{name}", value.detach().contiguous(), self.place)

    def behind(self, node: Node) -> Node:
        if self.linear.activation != "none":
            target, words = _FUNCTIONS[self.linear.activation]
            node = self.call(target, node, **words)
        return node if self.residual is None else self.call(aten.add.Tensor, node, self.residual)

    def rounded(self, dtype: torch.dtype) -> tuple[Node, Node]:
        key = (self.given, self.linear.step or dtype)
        return self._made.rounded(key, lambda: self._round(dtype))

    def _round(self, dtype: torch.dtype) -> tuple[Node, Node]:
        """Put the rounding before all that reads x: what shares it may stand before this linear."""
        graph, before = self.module.graph, min(self.given.users)
        with graph.inserting_before(before):
            if self.linear.step is None:
                given: dict[str, Any] = {} if dtype == torch.int8 else {"dtype": dtype}
                made = graph.call_function(ops.gpu_quantize_rows.default, (self.given,), given)
                pair = [graph.call_function(operator.getitem, (made, place)) for place in (0, 1)]
            else:
                scale, zero = self.linear.step
                # uint8 with its zero point at `zero` is int8 with it 128 lower.
                made = graph.call_function(ops.gpu_quantize_tensor.default, (self.given, scale, zero - 128))
                stored = add_tensor(self.module, f"{self.path}_input_scale", torch.tensor([scale]), made)
                pair = [made, stored]
        for node in {made, *pair}:
            node.meta |= scope_meta(self._layer)
        return pair[0], pair[1]
