"""Gradients summed over the processes, in few large pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from fxcompress.distributed.links import group_for, summed
from fxcompress.distributed.ranks import is_shared
from fxcompress.errors import ProcessesFailed

# Elements of a piece: 25 MB of float32, as torch's DistributedDataParallel has it.
_PIECE = 25 * 2**20 // 4


def sum_gradients(parameters: Sequence[torch.Tensor], loss: torch.Tensor) -> torch.Tensor:
    """Sum the gradients of `parameters`, in place, and `loss`, which is returned, over the processes.

    Parameters without a gradient have none on all of them. Where the work is not shared, all is as it is.
    """
    loss = loss.detach()
    total = loss.reshape(1).clone()
    sum_tensors([*(one.grad for one in parameters if one.grad is not None), total])
    return total.reshape(())


def sum_tensors(tensors: Sequence[torch.Tensor]) -> None:
    """Sum each tensor, in place, over the processes, which have as many of the same shapes."""
    if not is_shared():
        return
    with torch.no_grad():
        for piece in _pieces(tensors):
            flat = _carried(torch.cat([one.reshape(-1) for one in piece]))
            for one, part in zip(piece, flat.split([one.numel() for one in piece]), strict=True):
                one.copy_(part.view_as(one))


def _pieces(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Yield tensors of one dtype and device, in their order, as many as fit a piece."""
    piece: list[torch.Tensor] = []
    for one in sorted(tensors, key=lambda tensor: (str(tensor.device), str(tensor.dtype))):
        other = piece and (piece[0].dtype, piece[0].device) != (one.dtype, one.device)
        if piece and (other or sum(row.numel() for row in piece) + one.numel() > _PIECE):
            yield piece
            piece = []
        piece.append(one)
    if piece:
        yield piece


def _carried(flat: torch.Tensor) -> torch.Tensor:
    """Return the sum of `flat`, by way of the CPU where the processes have no other."""
    try:
        group_for(flat.device)
    except ProcessesFailed:
        return summed(flat.cpu()).to(flat.device)
    return summed(flat)
