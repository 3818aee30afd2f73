"""Random numbers that differ from rank to rank, without letting the common generators part."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from fxcompress.distributed.ranks import is_shared, rank

# Apart by so much, the seeds of ranks are not those of the next steps.
_STRIDE = 0x9E3779B97F4A7C15


@contextmanager
def drawing_apart() -> Iterator[None]:
    """Let each rank draw numbers of its own within; before and after, the generators of all ranks are alike.

    It is for what is drawn for samples, which differ from rank to rank: what dropout leaves out. The global generators
    of torch, NumPy and Python are meant. Nothing happens where the work is not shared.
    """
    if not is_shared():
        yield
        return
    seed = int(torch.randint(2**62, ()))
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed((seed + rank() * _STRIDE) % 2**63)
        np.random.seed((seed + rank() * _STRIDE) % 2**32)
        random.seed(seed + rank() * _STRIDE)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
