"""The graph with calls of kernels for the CPU in the place of its quantized and sparse layers, as measured here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.sizes import concrete
from fxcompress.graph.nodes import calls
from fxcompress.kernels.backends import available
from fxcompress.lowering import choosing_convolution, choosing_images
from fxcompress.lowering.attention import lower_attention
from fxcompress.lowering.choosing import CANDIDATES, Choice, Shape, choose, usable
from fxcompress.lowering.claims import Claim, claim_of
from fxcompress.lowering.fusing import fuse
from fxcompress.lowering.holding import hold_floats, is_small_table
from fxcompress.lowering.images import Images
from fxcompress.lowering.layouts import reshape_images
from fxcompress.lowering.merging import batches
from fxcompress.lowering.narrowing import look_up_narrow, lower_narrow
from fxcompress.lowering.pooling import pool_behind_convolutions
from fxcompress.lowering.raising import raise_quantization
from fxcompress.lowering.rewriting import (
    calculate_unrounded,
    drop_what_is_off,
    faster_quantize,
    replace,
    up_to_date,
)
from fxcompress.lowering.samples import read_unrounded
from fxcompress.lowering.sparse import lower_sparse
from fxcompress.lowering.spelling import spell_as_linears
from fxcompress.lowering.tokens import Tokens

aten = torch.ops.aten
Told = dict[str, dict[str, Any]]


@dataclass
class Outcome:
    """What became of a graph.

    Attributes:
        lowered: by the name of the new call, what it calculates and by which backend.
        left: by the name of a layer that stays, why.
        attention: as `lowered`.
        held: layers whose weights are kept as floats.
        unrounded: layers whose activations are rounded no more.
        narrow: as `lowered`, what is calculated in bfloat16.
    """

    lowered: Told = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    attention: Told = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    unrounded: list[str] = field(default_factory=list)
    narrow: Told = field(default_factory=dict)


@dataclass(frozen=True)
class OnCpu:
    """Lowers for the CPU, with some of its backends or all, measured or not; `narrow` with bfloat16 too."""

    backends: tuple[str, ...]
    measure: bool
    narrow: bool = False

    def lower(self, module: GraphModule, selected: set[Node]) -> Outcome:
        """Put calls of kernels in the place of layers among `selected`."""
        spell_as_linears(module, selected)
        look_up_narrow(module, selected)
        claims, left = _claims(module, selected)
        if claims:
            drop_what_is_off(module)
            raise_quantization(module)
            claims, left = _claims(module, selected)
        outcome = Outcome(left=left, attention=self._attention(module, selected))
        self._lower(module, claims, outcome)
        module.graph.eliminate_dead_code()
        outcome.unrounded += [layer.name for layer in read_unrounded(module, selected)]
        reshape_images(module)
        module.graph.eliminate_dead_code()
        fuse(module)
        pool_behind_convolutions(module)
        outcome.held = [layer.name for layer in hold_floats(module)]
        sparse, dense = lower_sparse(module, selected, self.measure)
        outcome.lowered.update(sparse)
        outcome.left.update(dense)
        if self.narrow:
            outcome.narrow = lower_narrow(module, selected, self.measure)
            reshape_images(module)
            module.graph.eliminate_dead_code()
            lowered = {name for made in outcome.narrow.values() for name in made["layers"]}
            outcome.held = [name for name in outcome.held if name not in lowered]
        faster_quantize(module)
        return outcome

    def _lower(self, module: GraphModule, claims: list[Claim], outcome: Outcome) -> None:
        tokens, images = Tokens("native"), Images()
        for batch in map(up_to_date, batches(claims)):
            if batch[0].kind == "dynamic convolution":
                self._convolve(module, batch[0], images, outcome)
                continue
            choice = self._choice(batch) if self.measure else None
            if self.measure and is_small_table(batch[0]):
                continue
            if choice is not None and not choice.saves and not self.backends:
                calculate_unrounded(module, batch)
                outcome.unrounded += [claim.layer.name for claim in batch]
                continue
            if choice is not None and not choice.faster:
                slower = "the pattern is faster than every kernel for its shape"
                outcome.left.update({claim.layer.name: slower for claim in batch})
                continue
            backend = choice.backend if choice else self._unmeasured(batch)
            by_tokens = batch[0].kind == "dynamic" and backend == "native"
            made = tokens.replace(module, batch) if by_tokens else replace(module, batch, backend)
            outcome.lowered[made.name] = entry(batch, backend, choice)

    def _convolve(self, module: GraphModule, claim: Claim, images: Images, outcome: Outcome) -> None:
        """Put a kernel in the place of a convolution whose image is rounded as the model runs, where it is faster."""
        shape = choosing_images.shape_of(claim)
        choice = choosing_images.choose(shape, self.backends) if self.measure else None
        backend = choice.backend if choice else choosing_images.usable(shape, self.backends)[0]
        wanted = choosing_images.saves(choice) if choice else backend == "native"
        if wanted or self.backends:
            made = images.replace(module, claim, backend)
            outcome.lowered[made.name] = entry([claim], backend, choice)

    def _attention(self, module: GraphModule, selected: set[Node]) -> Told:
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


def _claims(module: GraphModule, selected: set[Node]) -> tuple[list[Claim], dict[str, str]]:
    """Return what kernels can take over among `selected`, and why layers with quantized weights stay."""
    claims, left, taken = [], {}, set[Node]()
    for layer in calls(module.graph, aten.linear, aten.conv1d, aten.conv2d, aten.embedding):
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
    others = {} if choice is None else {"pattern": choice.pattern, "floats": choice.floats}
    microseconds = {} if choice is None else {**choice.microseconds, **others}
    return {
        "kind": batch[0].kind,
        "layers": [claim.layer.name for claim in batch],
        "backend": backend,
        "microseconds": {name: round(took, 1) for name, took in microseconds.items() if math.isfinite(took)},
    }
