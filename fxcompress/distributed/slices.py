"""Batches of training data cut into slices, one for each process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule
from torch.utils import _pytree as pytree
from torch.utils.data import DistributedSampler

from fxcompress.capturing import Inputs, as_inputs
from fxcompress.capturing.batch import batch_size, takes_any_size
from fxcompress.contract import TrainingData
from fxcompress.distributed.agreement import alike, sketch
from fxcompress.distributed.exchange import gathered
from fxcompress.distributed.ranks import is_first, is_shared, rank, world
from fxcompress.errors import InputError

Batch = tuple[Any, Any]


@dataclass(frozen=True)
class Slice:
    """What one process computes of a batch.

    Attributes:
        inputs, targets: of the samples in it.
        share: what its mean loss counts in that of the batch; the shares of all processes add up to one.
        parted: whether the processes see different samples, so that the statistics of a batch norm are to be joined.
        whole: inputs and targets of the whole batch, where it was cut here.
    """

    inputs: Inputs
    targets: Any
    share: float = 1.0
    parted: bool = False
    whole: tuple[Inputs, Any] | None = None


def slices(data: TrainingData, module: GraphModule) -> Iterator[Slice]:
    """Yield of every batch what this process computes with `module`; all of it where the work is not shared.

    A batch is cut into slices of consecutive samples: in all tensors, and lists, of inputs and targets that are as long
    as the batch. One of fewer samples than processes is computed whole by each, and counts once; so are all batches
    where the graph holds for some sizes only, see `is_cut`.

    Where the data is sharded, each process has batches of its own, and its k-th one is its slice of the k-th. A process
    whose batches are used up computes its last one again, which then does not count.

    Raises:
        InputError: the processes have different batches though they are not said to be sharded, or one has none.
    """
    if not is_shared():
        for inputs, targets in data.batches:
            yield Slice(as_inputs(inputs), targets)
    elif is_sharded(data):
        yield from _own(data.batches)
    else:
        cut = is_cut(module)
        for number, (inputs, targets) in enumerate(data.batches):
            if number == 0:
                alike({"": sketch((inputs, targets))}, _others)
            yield _cut(as_inputs(inputs), targets, cut)


def is_cut(module: GraphModule) -> bool:
    """Whether `module` takes slices of batches: its batch size is open, and all sizes will do."""
    return takes_any_size(module.graph) and module.meta.get("batch_sizes") is None


def is_sharded(data: TrainingData) -> bool:
    """Whether each process has samples of its own: it was said, or a DistributedSampler draws them."""
    return data.sharded or bool(_samplers(data.batches))


def begin_epoch(data: TrainingData, epoch: int) -> None:
    """Tell a DistributedSampler which epoch, counted from 0, begins: the order depends on it."""
    for sampler in _samplers(data.batches):
        sampler.set_epoch(epoch)


def _samplers(batches: Any) -> list[DistributedSampler[Any]]:
    known = (getattr(batches, "sampler", None), getattr(getattr(batches, "batch_sampler", None), "sampler", None))
    return list({id(one): one for one in known if isinstance(one, DistributedSampler)}.values())


def _others(name: str, place: int) -> InputError:
    return InputError(
        f"the training data of rank {place} is other than that of rank 0",
        hint="draw the batches with the same seed on all ranks, or say TrainingData(..., sharded=True) where each has "
        "samples of its own",
    )


def _cut(inputs: Inputs, targets: Any, cut: bool) -> Slice:
    size = batch_size(inputs) or 0
    if size < world() or not cut:
        return Slice(inputs, targets, float(is_first()))
    part = part_of(size, rank())
    args, kwargs, aims = cut_to((inputs.args, inputs.kwargs, targets), size, part)
    return Slice(Inputs(*args, **kwargs), aims, len(part) / size, parted=True, whole=(inputs, targets))


def part_of(size: int, place: int) -> range:
    """Return which of `size` samples are those of the rank `place`."""
    return range(size * place // world(), size * (place + 1) // world())


def cut_to(nest: Any, size: int, part: range) -> Any:
    """Return `nest` with some of the samples only: of all tensors and lists in it that are as long as the batch."""

    def taken(leaf: Any) -> Any:
        long = isinstance(leaf, torch.Tensor) and leaf.dim() > 0 and len(leaf) == size
        return leaf[part.start : part.stop] if long or _is_row(leaf, size) else leaf

    return pytree.tree_map(taken, nest, is_leaf=lambda node: _is_row(node, size))


def _is_row(node: Any, size: int) -> bool:
    """Whether `node` is a list of something for each sample, of other things than numbers in a tensor."""
    if not isinstance(node, list) or len(node) != size:
        return False
    leaves = pytree.tree_leaves(node)
    return not any(isinstance(leaf, torch.Tensor) and leaf.dim() > 0 and len(leaf) == size for leaf in leaves)


def _own(batches: Iterable[Batch]) -> Iterator[Slice]:
    waiting, last = iter(batches), None
    while True:
        mine = next(waiting, None)
        last = last if mine is None else (as_inputs(mine[0]), mine[1])
        counts = gathered(None if last is None else 0 if mine is None else batch_size(last[0]) or 1)
        if not any(counts):
            return
        if last is None or None in counts:
            raise InputError(f"rank {counts.index(None)} has no batches", hint="start fewer processes")
        yield Slice(*last, (counts[rank()] or 0) / sum(count or 0 for count in counts), parted=True)
