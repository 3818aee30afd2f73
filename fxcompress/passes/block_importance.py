"""How much a residual block matters: by what it does to activations, by its weights, by its place."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.blocks import Block, is_sum
from fxcompress.analysis.observe import observe
from fxcompress.capturing.inputs import Inputs
from fxcompress.distributed import dealt, together, totals
from fxcompress.graph.nodes import argument, is_call
from fxcompress.graph.operators import NORMS
from fxcompress.graph.tensors import tensor_of
from fxcompress.weights import stored_axis, stored_behind, uses_of

aten = torch.ops.aten


def influence(module: GraphModule, blocks: Sequence[Block], batches: Iterable[Inputs]) -> dict[Block, float]:
    """Return for each block 1 - the cosine of what goes in and what comes out, from 0 to 2.

    It is taken of each sample as one vector, in float64, and averaged over all samples of `batches`; of a branch,
    what goes in is what comes out without it. Values that are not finite count as opposite. Block influence is from
    Men et al., ShortGPT: Layers in Large Language Models are More Redundant Than You Expect, 2024; there the vectors
    are those of the tokens.
    """
    sums = dict.fromkeys(blocks, 0.0)
    samples = dict.fromkeys(blocks, 0)
    ours = dealt(batches)
    with together():
        for _, batch in ours:
            for block, cosines in cosines_of(module, blocks, batch).items():
                sums[block] += float(cosines.sum())
                samples[block] += cosines.numel()
    of_all = zip(blocks, totals(list(sums.values())), totals(list(samples.values())), strict=True)
    return {block: 1 - total / count for block, total, count in of_all}


def cosines_of(module: GraphModule, blocks: Sequence[Block], batch: Inputs) -> dict[Block, torch.Tensor]:
    """Run `module` on `batch`; return the cosines of all samples for each block, [samples] in float64."""
    ends: dict[Node, list[Block]] = defaultdict(list)
    for block in blocks:
        ends[block.exit].append(block)
    waiting = Counter(start_of(block) for block in blocks)
    held: dict[Node, torch.Tensor] = {}
    found: dict[Block, torch.Tensor] = {}

    def watch(node: Node, value: torch.Tensor, seconds: float) -> None:
        if node in waiting:
            # What is written in place later must not reach the copy.
            held[node] = value.detach().double().clone()
        for block in ends.get(node, ()):
            start = start_of(block)
            after = value.detach().double()
            before = after - held[start] if block.level == "branch" else held[start]
            found[block] = sample_cosines(before, after)
            waiting[start] -= 1
            if not waiting[start]:
                del held[start]

    observe(module, batch, watch)
    return found


def start_of(block: Block) -> Node:
    """Return the node that tells, beside the exit, what goes into `block`."""
    return block.lasts[0] if block.level == "branch" else block.entry


def sample_cosines(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Return the cosine of each sample, [samples]: 1 where both are zero, -1 where one is not finite."""
    rows = before.shape[0] if before.dim() > 1 else 1
    left, right = before.reshape(rows, -1), after.reshape(rows, -1)
    lengths = left.norm(dim=1) * right.norm(dim=1)
    cosines = (left * right).sum(dim=1) / lengths
    cosines = torch.where((left == right).all(dim=1), 1.0, torch.where(lengths == 0, 0.0, cosines))
    return torch.where(cosines.isfinite(), cosines.clamp(-1, 1), -1.0)


def gains(module: GraphModule, blocks: Sequence[Block]) -> dict[Block, float]:
    """Return for each block how large what it adds may be, judged by its last weights alone.

    For a branch that is the root mean square of what its last matrix makes of independent numbers of variance one,
    times the scales behind it; behind a norm it is that of the norm's scales. Branches of one block add up as
    independent numbers do.
    """
    return {block: math.hypot(*gains_of(module, block)) for block in blocks}


def gains_of(module: GraphModule, block: Block) -> list[float]:
    """Return the gain of each branch of `block`."""
    known: dict[Node, float] = {}
    for node in block.nodes:
        known[node] = gain(module, node, known)
    return [known[last] for last in block.lasts]


def gain(module: GraphModule, node: Node, known: dict[Node, float]) -> float:
    """Return the root mean square that `node` may give, where that of the calls before it is `known`."""
    given = [known.get(source, 1.0) for source in node.all_input_nodes if tensor_of(module, source) is None]
    if is_call(node, *NORMS):
        scale = tensor_of(module, argument(node, "weight"))
        return 1.0 if scale is None else root_mean_square(scale)
    for use in uses_of(node):
        chain = stored_behind(use.given)
        weight = tensor_of(module, chain[0]) if chain else None
        if weight is not None and weight.is_floating_point():
            outputs = weight.shape[stored_axis(chain, use.output_axis)]
            return root_mean_square(weight) * math.sqrt(weight.numel() / outputs)
    if is_sum(node):
        return math.hypot(*given)
    scales = [tensor_of(module, source) for source in node.all_input_nodes] if is_call(node, aten.mul) else []
    scale_of = math.prod(root_mean_square(scale) for scale in scales if scale is not None)
    return scale_of * (given[0] if given else 1.0)


def root_mean_square(values: torch.Tensor) -> float:
    return float(values.detach().double().square().mean().sqrt())
