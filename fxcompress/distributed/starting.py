"""Joining the processes that `torchrun` or a batch system has started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from fxcompress.distributed.links import explained
from fxcompress.errors import UsageError

# Seconds that a process waits for the others; the longest wait is for one that evaluates, or reads data, alone.
TIMEOUT = 1800.0
# What torchrun puts into the environment, and other launchers that follow it.
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def started(timeout: float = TIMEOUT) -> Iterator[bool]:
    """Join the other processes, if this one was started as one of several, and leave them at the end.

    Nothing happens where `torch.distributed` is initialized already, and where the environment names no other
    processes. On the CPU they talk by gloo, on CUDA by NCCL, and each takes the device of its `LOCAL_RANK`.

    Args:
        timeout: seconds after which a process that does not answer is given up.

    Yields:
        whether this call joined them.

    Raises:
        UsageError: the environment holds no numbers.
        ProcessesFailed: the others do not come.
    """
    if not is_one_of_several():
        yield False
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    with explained("joining the other processes"):
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    try:
        yield True
    finally:
        dist.destroy_process_group()


def is_one_of_several() -> bool:
    """Whether the environment says that this process is one of several, and they are not joined yet."""
    if any(name not in os.environ for name in _VARIABLES) or not dist.is_available() or dist.is_initialized():
        return False
    try:
        return int(os.environ["WORLD_SIZE"]) > 1
    except ValueError:
        raise UsageError(f"WORLD_SIZE is {os.environ['WORLD_SIZE']!r}, not a number of processes") from None
