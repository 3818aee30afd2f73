"""Depth pruning: residual blocks that are replaced by what goes into them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.block_scopes import Blocks, residual_blocks
from fxcompress.analysis.blocks import Block
from fxcompress.analysis.flow import reads_size, same_size
from fxcompress.contract import Pass, PassContext, at_least, between, option, statistic
from fxcompress.errors import PassFailed, PipelineError
from fxcompress.graph.tensors import drop_unused, named_tensors
from fxcompress.passes.block_importance import gains, influence
from fxcompress.text import listing, matches, plural, suggestion

aten = torch.ops.aten


@dataclass(frozen=True)
class DropBlocks(Pass):
    """Remove whole residual blocks: each is replaced by what goes into it.

    A block is what is computed from a value, added to that same value, and read by nothing else: a bottleneck of a
    ResNet, the attention or the feed-forward of a transformer. Only those whose shortcut is the identity, of one
    shape from end to end, can go. With `level=block` the branches of one module go together, with the norms and
    activations behind them: a whole layer. With `level=branch` each goes by itself, and what follows the addition
    stays.

    `targets` alone removes every block that it names. `count` and `ratio` remove that many, those that matter least
    first. `importance`: `similarity` is 1 - the cosine of what goes into a block and what comes out, averaged over the
    calibration data (block influence of Men et al., ShortGPT, 2024, of whole samples); `norm` is judged by the last
    weights and scales of the branches, without data; `last` takes the blocks nearest to the results first. The
    importance is measured once, before anything goes.

    `details`: `dropped` and `kept` list the names of the blocks, `importance` maps those that were ranked to a number
    (the smallest go first), `refused` maps sums that look like a block to the reason why they cannot go, `tensors`
    lists the parameters and buffers that are gone.
    """

    name = "drop-blocks"
    fidelity = "lossy"
    count: int | None = option(None, help="how many blocks go; one, or all that targets name", check=at_least(0))
    ratio: float | None = option(None, help="share of the blocks that goes instead", check=between(0, 1))
    level: Literal["block", "branch"] = option("block", help="whole layers, or every residual addition by itself")
    importance: Literal["similarity", "norm", "last"] = option("similarity", help="what decides which blocks go first")
    targets: tuple[str, ...] = option((), help="blocks to choose from, by module or node; all where none are given")
    ignore: tuple[str, ...] = option((), help="modules, nodes or parameters whose blocks stay")
    dropped = statistic("blocks removed")
    kept = statistic("blocks that could go and stay")
    parameters = statistic("elements of parameters removed")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count is not None and self.ratio is not None:
            raise PipelineError(f"pass {self.name!r}: count and ratio exclude each other", hint="leave one of them out")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        blocks = residual_blocks(module, self.level)
        names = labels(blocks.found)
        candidates = self._candidates(module, context, blocks)
        count = self._count(len(candidates), context)
        importance = self._importance(module, context, candidates) if 0 < count < len(candidates) else {}
        chosen = set(least(candidates, importance)[:count])
        dropped = [block for block in blocks.found if block in chosen]
        sizes = dict(module.named_parameters())
        tensors = remove(module, dropped)
        context.record(
            dropped=len(dropped),
            kept=len(blocks.found) - len(dropped),
            parameters=sum(sizes[path].numel() for path in tensors if path in sizes),
        )
        context.details.update(
            dropped=[names[block] for block in dropped],
            kept=[names[block] for block in blocks.found if block not in chosen],
            importance={names[block]: importance[block] for block in candidates if block in importance},
            refused=blocks.refused,
            tensors=tensors,
        )
        self._tell(context, blocks)
        return module

    def _candidates(self, module: GraphModule, context: PassContext, blocks: Blocks) -> list[Block]:
        """Return the blocks that `targets` name, all without any, less those that `ignore` means a call of."""
        for pattern in self.targets:
            if not any(is_meant(block, pattern) for block in blocks.found):
                raise no_such_block(module, pattern, blocks, self.level)
        ignored = set(context.select(module, self.ignore)) if self.ignore else set()
        return [
            block
            for block in blocks.found
            if (not self.targets or any(is_meant(block, pattern) for pattern in self.targets))
            and ignored.isdisjoint(block.nodes)
        ]

    def _count(self, found: int, context: PassContext) -> int:
        """Return how many of `found` blocks go."""
        if self.ratio is not None:
            return round(self.ratio * found)
        if self.count is None:
            return found if self.targets else min(1, found)
        if self.count > found:
            context.note(f"{plural(self.count, 'block')} should go, {found} can")
        return min(self.count, found)

    def _importance(self, module: GraphModule, context: PassContext, blocks: Sequence[Block]) -> dict[Block, float]:
        """Return a number for each of `blocks`; the smallest go first."""
        if self.importance == "similarity":
            return influence(module, blocks, context.calibration())
        if self.importance == "norm":
            return gains(module, blocks)
        return {block: float(len(blocks) - 1 - place) for place, block in enumerate(blocks)}

    def _tell(self, context: PassContext, blocks: Blocks) -> None:
        if context.details["dropped"]:
            context.note(f"replaced by what goes into them: {listing(context.details['dropped'])}")
        elif not blocks.found:
            context.note("no residual block can go: none has the identity for a shortcut")
        for place, why in blocks.refused.items():
            context.note(f"{place}: left alone, {why}")


def least(blocks: Sequence[Block], importance: Mapping[Block, float]) -> list[Block]:
    """Return `blocks` by rising importance, of equals the last first."""
    places = {block: place for place, block in enumerate(blocks)}
    return sorted(blocks, key=lambda block: (importance.get(block, 0.0), -places[block]))


def labels(blocks: Sequence[Block]) -> dict[Block, str]:
    """Return a name for every block: its scope, with the node at its end where several have that scope."""
    times = Counter(block.scope for block in blocks)
    return {b: b.scope if times[b.scope] == 1 else f"{b.scope}:{b.lasts[-1].name}" for b in blocks}


def names_of(block: Block) -> tuple[str, ...]:
    """Return every name under which a pattern may mean `block`."""
    return (block.scope, block.exit.name, f"{block.scope}:{block.lasts[-1].name}")


def is_meant(block: Block, pattern: str) -> bool:
    return any(matches(pattern, name) for name in names_of(block))


def no_such_block(module: GraphModule, pattern: str, blocks: Blocks, level: str) -> PassFailed:
    """Return the error for a target that names no block: why that place is none, or what there is instead."""
    for place, why in blocks.refused.items():
        if matches(pattern, place):
            return PassFailed(f"{pattern!r} matches no block that can go: in {place} {why}")
    other: Literal["block", "branch"] = "branch" if level == "block" else "block"
    if any(is_meant(block, pattern) for block in residual_blocks(module, other).found):
        return PassFailed(f"{pattern!r} matches no block", hint=f"with  level={other}  there is one")
    known = [block.scope for block in blocks.found]
    return PassFailed(f"{pattern!r} matches no residual block", hint=suggestion(pattern, known))


def remove(module: GraphModule, blocks: Sequence[Block]) -> list[str]:
    """Remove `blocks`, in the order of the graph, with what nothing reads then; return the paths of tensors gone."""
    read = {str(node.target) for node in module.graph.find_nodes(op="get_attr")}
    replaced: dict[Node, Node] = {}
    for block in blocks:
        nodes = list(block.nodes)
        old, new = block.exit, block.entry
        if block.level == "branch":
            # The addition that the branch stands in now: others may have gone out of the same sum.
            (old,) = block.lasts[0].users
            (new,) = (given for given in old.all_input_nodes if given is not block.lasts[0])
            nodes.append(old)
        while new in replaced:
            new = replaced[new]
        replaced[old] = in_layout_of(old, new)
        old.replace_all_uses_with(replaced[old])
        for node in sorted([*nodes, *sizes_of(nodes, new)], reverse=True):
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code(lambda node: node.is_impure(impure_random=False))
    return drop_tensors(module, read)


def sizes_of(nodes: Sequence[Node], new: Node) -> list[Node]:
    """Let `new` give the sizes that were read of `nodes`; return the calls that read them, which nobody needs then."""
    found = [user for node in nodes for user in node.users if reads_size(user)]
    for size in found:
        dim = same_size(new, size)
        if dim is not None:
            with size.graph.inserting_before(size):
                other = size.graph.call_function(aten.sym_size.int, (new, dim))
            other.meta = dict(size.meta)
            size.replace_all_uses_with(other)
    return found


def in_layout_of(old: Node, new: Node) -> Node:
    """Return what stands for `old`: `new`, made contiguous where it lies in memory in another way."""
    strides = [[str(stride) for stride in node.meta["val"].stride()] for node in (old, new)]
    if strides[0] == strides[1]:
        return new
    with old.graph.inserting_before(old):
        node = old.graph.call_function(aten.contiguous.default, (new,))
    node.meta = {**old.meta, "val": old.meta["val"]}
    return node


def drop_tensors(module: GraphModule, among: set[str]) -> list[str]:
    """Remove those tensors `among` that no node reads, with the counters of batch norms beside them."""
    before = {path for path, _ in named_tensors(module)}
    gone = drop_unused(module, among)
    owners = {path.rpartition(".")[0] for path in gone if path.endswith("running_mean")}
    counters = {f"{owner}.num_batches_tracked".lstrip(".") for owner in owners}
    return gone + drop_unused(module, counters & before)
