"""The ways between processes: collectives of tensors, whose failures say what became of the others."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from fxcompress.distributed.ranks import rank
from fxcompress.errors import ProcessesFailed

_HINT = "the first error of the run says why; start it again with as many processes, and with resume=DIR it goes on"


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Let what `torch.distributed` raises within say that another process is gone, or did not answer in time."""
    try:
        yield
    except (RuntimeError, ConnectionError) as error:
        text = str(error).split("\n", 1)[0]
        late = "imed out" in text or "imeout" in text
        why = "another process did not answer in time" if late else "another process is gone"
        raise ProcessesFailed(f"{what}, on rank {rank()}: {why} ({text})", hint=_HINT) from error


def group_for(device: torch.device) -> Any:
    """Return the group that carries tensors of `device`: all processes, by a backend that can."""
    names = [row.split(":") for row in dist.get_backend_config().split(",")]
    if any(name[0] == device.type for name in names):
        return dist.group.WORLD
    if device.type != "cpu":
        raise ProcessesFailed(
            f"the processes are joined by {dist.get_backend_config()}, which carries no tensors of {device.type}",
            hint='dist.init_process_group() without a backend, or "cpu:gloo,cuda:nccl"',
        )
    return _by_gloo(dist.group.WORLD)


@functools.lru_cache(maxsize=1)
def _by_gloo(_all: Any) -> Any:
    return dist.new_group(backend="gloo")


def summed(tensor: torch.Tensor) -> torch.Tensor:
    """Return the sum of `tensor` over all processes, written into it; the same bits for each of them."""
    with explained("summing over the processes"):
        dist.all_reduce(tensor, group=group_for(tensor.device))
    return tensor


def stacked(tensor: torch.Tensor) -> torch.Tensor:
    """Return [processes, *shape]: `tensor` of each rank, in their order."""
    rows = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    with explained("gathering from the processes"):
        dist.all_gather(rows, tensor.contiguous(), group=group_for(tensor.device))
    return torch.stack(rows)


def sent(tensor: torch.Tensor, source: int) -> torch.Tensor:
    """Return `tensor` of the rank `source`, written into that of each process."""
    with explained(f"receiving from rank {source}"):
        dist.broadcast(tensor, source, group=group_for(tensor.device))
    return tensor
