"""The weights of a graph: which stored tensors the layers multiply with or look up, and who reads them."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node

import fxcompress.kernels  # noqa: F401  registers the operator of masks
from fxcompress.contract import PassContext
from fxcompress.errors import PassFailed
from fxcompress.graph.nodes import argument, computed_from, is_call
from fxcompress.graph.operators import CONVOLUTIONS, EMBEDDINGS, LINEAR, RECURRENT, TRANSPOSED_CONVOLUTIONS
from fxcompress.graph.tensors import Sources, tensor_of
from fxcompress.text import listing
from fxcompress.weights.rearranging import moved_axis, rearranged

aten = torch.ops.aten

# For every layer: the arguments that hold its weights, and the axis of a weight that is the output's. Which axis of an
# einsum's operand that is its equation says; any serves for scales.
_WEIGHTS: dict[Any, tuple[tuple[str, int], ...]] = {
    **dict.fromkeys((*LINEAR, *CONVOLUTIONS, *EMBEDDINGS, aten.bilinear), (("weight", 0),)),
    **dict.fromkeys(TRANSPOSED_CONVOLUTIONS, (("weight", 1),)),
    **dict.fromkeys(RECURRENT, (("params", 0),)),
    aten.addmm: (("mat1", -2), ("mat2", -1)),
    aten.baddbmm: (("batch1", -2), ("batch2", -1)),
    aten.mm: (("self", -2), ("mat2", -1)),
    aten.bmm: (("self", -2), ("mat2", -1)),
    aten.matmul: (("self", -2), ("other", -1)),
    aten.einsum: (("tensors", 0),),
}
_PRODUCTS = (aten.addmm, aten.baddbmm, aten.mm, aten.bmm, aten.matmul, aten.einsum)
_ONE_OF = (aten.select, aten.unbind)
_PARTS = (*_ONE_OF, aten.chunk, aten.split, aten.split_with_sizes, aten.slice, aten.narrow, operator.getitem)


@dataclass(frozen=True)
class Weight:
    """A stored weight and the layers that use it; a tied weight is one, whatever its names.

    Attributes:
        path: the name under which the graph reads it first.
        tensor: the tensor itself, floating.
        readers: the layers among those asked for, in the order of the graph.
        sources: the `get_attr` nodes that give it, in the order of the graph.
        output_axis: the axis of output channels; that of rows for an embedding.
    """

    path: str
    tensor: torch.Tensor
    readers: tuple[Node, ...]
    sources: tuple[Node, ...]
    output_axis: int

    @property
    def embeds(self) -> bool:
        """Whether an embedding looks up its rows."""
        return any(is_call(user, *EMBEDDINGS) for user in (*self.readers, *self.users))

    @property
    def users(self) -> set[Node]:
        """The nodes that read the tensor itself: layers, and views between it and a layer."""
        return {user for source in self.sources for user in source.users}


@dataclass(frozen=True)
class Use:
    """One operand of a layer that is a weight by its place: `given` is the node that gives it."""

    layer: Node
    given: Node
    output_axis: int


def uses_of(node: Node) -> Iterator[Use]:
    """Yield the operands of a layer that hold its weights; none for other calls.

    Of a product of matrices either operand may be one, if it is stored; of a recurrent layer the matrices among its
    parameters are.
    """
    for name, axis in next((rows for packet, rows in _WEIGHTS.items() if is_call(node, packet)), ()):
        operands = argument(node, name)
        for given in operands if isinstance(operands, list | tuple) else (operands,):
            if isinstance(given, Node):
                dims = given.meta["val"].dim()
                if dims >= 2 or not is_call(node, *_PRODUCTS, *RECURRENT):
                    yield Use(node, given, axis % dims)


def stored_behind(node: Node) -> list[Node]:
    """Return the nodes from a `get_attr` node to `node` if there are only views and parts between; else nothing.

    A mask over the weight is looked through, and is not among them.
    """
    chain = [node]
    while chain[-1].op != "get_attr":
        last = chain[-1]
        if is_call(last, torch.ops.fxcompress.masked):
            chain[-1] = last.all_input_nodes[0]
            continue
        if rearranged(last) is None and not is_call(last, *_PARTS):
            return []
        chain.append(last.args[0])  # type: ignore[arg-type]
    return chain[::-1]


def stored_axis(chain: list[Node], axis: int) -> int:
    """Return the axis of the stored tensor that comes out as `axis` at the end of `chain`; 0 where none does."""
    for start in range(chain[0].meta["val"].dim()):
        place: int | None = start
        for node in chain[1:]:
            if place is not None and is_call(node, *_ONE_OF):
                gone = argument(node, "dim") % node.args[0].meta["val"].dim()  # type: ignore[union-attr]
                place = None if place == gone else place - (place > gone)
            elif place is not None and not is_call(node, *_PARTS):
                place = moved_axis(node, place)
        if place == axis:
            return start
    return 0


def weights_of(module: GraphModule, nodes: Iterable[Node]) -> list[Weight]:
    """Return the stored floating weights of the layers among `nodes`, in the order of the graph."""
    grouped: dict[int, list[tuple[Use, list[Node]]]] = {}
    for use in (use for node in nodes for use in uses_of(node)):
        chain = stored_behind(use.given)
        tensor = tensor_of(module, chain[0]) if chain else None
        if tensor is not None and tensor.is_floating_point():
            grouped.setdefault(id(tensor), []).append((use, chain))
    sources = Sources(module)
    return [_weight(module, sources, uses) for uses in grouped.values()]


def _weight(module: GraphModule, sources: Sources, uses: list[tuple[Use, list[Node]]]) -> Weight:
    first, chain = uses[0]
    tensor = tensor_of(module, chain[0])
    assert tensor is not None
    readers = tuple(dict.fromkeys(use.layer for use, _ in uses))
    axis = stored_axis(chain, first.output_axis)
    found = sources.of(chain[0])
    return Weight(str(found[0].target), tensor, readers, tuple(found), axis)


def selected_weights(
    module: GraphModule,
    context: PassContext,
    targets: tuple[str, ...],
    ignore: tuple[str, ...],
    *,
    embeddings: bool = True,
) -> list[Weight]:
    """Return the stored weights that `targets` mean and `ignore` does not.

    Buffers, and embeddings where `embeddings` is off, are among them only where there are `targets`. A weight that
    one of several layers shares with an ignored one is left alone. What is left alone is named in a note.

    Raises:
        PassFailed: a pattern matches nothing, or only calls without a stored weight.
    """
    nodes = context.select(module, targets, ignore)
    ignored = set(context.select(module, ignore)) if ignore else set()
    found, left = [], _missing(nodes)
    for weight in weights_of(module, nodes):
        if ignored & weight.users:
            left[weight.path] = "an ignored layer shares it"
        elif not targets and not isinstance(weight.tensor, torch.nn.Parameter):
            left[weight.path] = "it is a buffer; targets may name it"
        elif not targets and not embeddings and weight.embeds:
            left[weight.path] = "it is an embedding; targets may name it"
        else:
            found.append(weight)
    for why in dict.fromkeys(left.values()):
        context.note(f"{listing([name for name, reason in left.items() if reason == why])}: left alone, {why}")
    if targets and not found:
        raise PassFailed(f"none of {', '.join(targets)} has a stored weight")
    return found


def _missing(nodes: Iterable[Node]) -> dict[str, str]:
    """Return the layers whose weight is neither stored nor computed from the inputs, and why."""
    left = {}
    for node in nodes:
        if isinstance(node.target, torch._ops.HigherOrderOperator) and any(map(stored_behind, node.all_input_nodes)):
            left[f"%{node.name}"] = "a subgraph calculates with the weight"
    for use in (use for node in nodes for use in uses_of(node)):
        if stored_behind(use.given):
            continue
        behind = computed_from(use.given)
        if any(node.op == "placeholder" for node in behind):
            continue
        if any(dequantizes(node) for node in behind):
            shared = any(is_call(node, torch.ops.fxcompress.shared_weights) for node in behind)
            left[f"%{use.layer.name}"] = f"the weight {'shares values' if shared else 'is quantized'} already"
        else:
            left[f"%{use.layer.name}"] = "the weight is computed in the graph (fold-constants may store it)"
    return left


# What makes floats of stored integers, or rounds as if it did.
_STORED_SMALL = ("dequantize", "fake_quantize", "shared_weights")


def dequantizes(node: Node) -> bool:
    """Whether `node` makes floats of stored integers, wider floats of stored ones, or rounds as if it did."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    return node.target._schema.name.split("::")[1].startswith(_STORED_SMALL) or widens(node)


def widens(node: Node) -> bool:
    """Whether `node` makes float32 of a tensor that is stored in bfloat16."""
    if not is_call(node, aten.to, aten._to_copy) or not isinstance(node.args[0], Node) or node.args[0].op != "get_attr":
        return False
    stored, wide = node.args[0].meta.get("val"), node.meta.get("val")
    narrow = isinstance(stored, torch.Tensor) and stored.dtype == torch.bfloat16
    return narrow and isinstance(wide, torch.Tensor) and wide.dtype == torch.float32
