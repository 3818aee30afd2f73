"""One step of training over several processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.fx import GraphModule

from fxcompress.contract import PassContext, TrainingData
from fxcompress.distributed.batch_norm import JoinedBatchNorm
from fxcompress.distributed.drawing import drawing_apart
from fxcompress.distributed.ranks import is_shared
from fxcompress.distributed.slices import Slice, is_cut, is_sharded


@contextmanager
def computed(piece: Slice) -> Iterator[None]:
    """Let what is computed of a slice within be what it is in the whole batch.

    Batch norms see the samples of all processes, and what is drawn at random (dropout) is drawn for each sample anew.
    """
    if not piece.parted:
        yield
        return
    with drawing_apart(), JoinedBatchNorm(counts=piece.share > 0):
        yield


def note_on_sharing(module: GraphModule, data: TrainingData, context: PassContext) -> None:
    """Say in a note where several processes compute the same."""
    if is_shared() and not is_sharded(data) and not is_cut(module):
        context.note(
            "the graph does not hold for all batch sizes: batches were not cut, each process computed them all"
        )
