"""Some of the calibration data, where all of it would tell hardly more."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch.fx import GraphModule

from fxcompress.capturing import Inputs
from fxcompress.capturing.batch import batch_size
from fxcompress.distributed import cut_to, is_cut


def fewer(module: GraphModule, batches: Sequence[Inputs], share: float) -> list[Inputs]:
    """Return about that `share` of the samples in `batches`, at least one, from all over them.

    A batch is cut where the batch size of `module` is open, and is taken or left as a whole elsewhere.
    """
    cut, before, found = is_cut(module), 0, list[Inputs]()
    for batch in batches:
        size = (batch_size(batch) or 1) if cut else 1
        wanted = math.ceil((before + size) * share) - math.ceil(before * share)
        before += size
        if wanted:
            found.append(batch if wanted == size else _first(batch, size, wanted))
    return found


def _first(batch: Inputs, size: int, wanted: int) -> Inputs:
    args, kwargs = cut_to((batch.args, batch.kwargs), size, range(wanted))
    return Inputs(*args, **kwargs)
