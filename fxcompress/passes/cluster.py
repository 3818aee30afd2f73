"""Weight sharing: all weights of a layer are one of a few values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch.fx import GraphModule, Node

from fxcompress.clustering import Shared, insert_shared, share
from fxcompress.contract import Pass, PassContext, at_least, between, option, statistic
from fxcompress.errors import PassFailed
from fxcompress.graph.nodes import argument, is_call, writes
from fxcompress.graph.operators import CONVOLUTIONS, LINEAR, TRANSPOSED_CONVOLUTIONS
from fxcompress.graph.tensors import Sources, tensor_of
from fxcompress.text import listing
from fxcompress.weights import Weight, selected_weights


@dataclass(frozen=True)
class Cluster(Pass):
    """Let the weights of a layer share a few values, found by k-means: a codebook, and a place in it for each weight.

    The places are stored as bytes under the name of the weight, the values beside them as `NAME_codebook`, a parameter:
    training (`finetune`, or any other loop) goes on, and moves each value by the gradients of all weights that share
    it. Zeros stay zero, are no part of the clusters and learn nothing; so what `mask` set to zero stays so, and its
    masks, which the places now hold, leave the graph. A tied weight is shared once and stays tied.

    There are 2 to the power of `bits` values beside zero (255 for 8 bits), or as many as `values` says, for the whole
    tensor or for every `rows` places of its first axis. In memory a weight takes a byte; in a file that is coded
    (`save(path, coding="auto")`) about as many bits as its places have entropy.

    `start` says where k-means begins: `linear`, evenly between the smallest and the largest weight, which keeps the
    large ones and does best when training follows; `density`, as many weights to each; `random`; or `optimal`, which
    has the least squared error, and does best when nothing follows. `biases` lets the biases of linears and
    convolutions share values too.

    Run `fold-bn` before it. `quantize` leaves shared weights alone, as `cluster` does quantized ones.

    Weight sharing: Han, Mao, Dally, Deep Compression, 2016.

    `details`: `clustered` maps each weight to the path of its `codebook`, the number of its `values` and `blocks`, of
    its `zeros`, and the `error`: the sum of squares of the difference as a share of that of the weight.
    """

    name = "cluster"
    fidelity = "lossy"
    masks = "baked"
    bits: int = option(4, help="bits of a place: 2 to the power of it are the values", check=between(1, 8))
    values: int | None = option(None, help="number of values in place of what bits says", check=between(1, 255))
    rows: int | None = option(None, help="rows that share values; all of a tensor where none", check=at_least(1))
    start: Literal["linear", "density", "random", "optimal"] = option("linear", help="where k-means begins")
    biases: bool = option(False, help="biases share values too")
    targets: tuple[str, ...] = option((), help="modules, nodes or parameters to cluster; all where none are given")
    ignore: tuple[str, ...] = option((), help="modules, nodes or parameters to leave alone")
    tensors = statistic("weight tensors clustered")
    weights = statistic("weights clustered")
    saved = statistic("bytes saved, before coding")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        found = selected_weights(module, context, self.targets, self.ignore)
        found += biases_of(module, found) if self.biases else []
        count = min(self.values or 2**self.bits, 255)
        context.details["clustered"] = {}
        left: dict[str, str] = {}
        generator = context.generator()
        for weight in found:
            if why := why_not(weight):
                left[weight.path] = why
                continue
            shared = share(weight.tensor, count, self.start, self.rows, generator)
            if shared.nbytes >= weight.tensor.nbytes:
                left[weight.path] = "places and values take more bytes than the weight"
                continue
            self._store(module, weight, shared, context)
        for why in dict.fromkeys(left.values()):
            context.note(f"{listing([path for path, reason in left.items() if reason == why])}: left alone, {why}")
        return module

    def _store(self, module: GraphModule, weight: Weight, shared: Shared, context: PassContext) -> None:
        before, size = weight.tensor.detach().double(), weight.tensor.nbytes
        lost = float((shared.floats().double() - before).square().sum() / before.square().sum().clamp(min=1e-300))
        blocks, values = shared.codebook.shape
        zeros = shared.indices.numel() - int(shared.indices.count_nonzero())
        codebook = insert_shared(module, weight, shared)
        facts = {"codebook": codebook, "values": values, "blocks": blocks, "zeros": zeros, "error": lost}
        context.details["clustered"][weight.path] = facts
        context.record(tensors=1, weights=weight.tensor.numel(), saved=size - shared.nbytes)


def why_not(weight: Weight) -> str | None:
    """Return why a weight cannot be clustered, None where it can.

    Raises:
        PassFailed: it holds what is not finite.
    """
    if any(writes(user) for user in weight.users):
        return "the graph writes into it"
    if weight.tensor.numel() == 0:
        return "it has no elements"
    if not torch.isfinite(weight.tensor).all():
        raise PassFailed(f"{weight.path} holds numbers that are not finite", hint="train it anew, or ignore it")
    return None


def biases_of(module: GraphModule, weights: Iterable[Weight]) -> list[Weight]:
    """Return the stored biases of the linears and convolutions that read `weights`, each once."""
    sources = Sources(module)
    found: dict[int, Weight] = {}
    for weight in weights:
        for layer in weight.readers:
            given = None
            if is_call(layer, *LINEAR, *CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS):
                given = argument(layer, "bias")
            tensor = tensor_of(module, given)
            if isinstance(given, Node) and tensor is not None and tensor.is_floating_point():
                nodes = sources.of(given)
                found[id(tensor)] = Weight(str(nodes[0].target), tensor, (layer,), tuple(nodes), 0)
    return list(found.values())
