"""One training loop for everybody: the networks to prune, and what either tool left of them."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from fxcompress.demo.digits import BATCH, Images

Move = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def trained(
    network: nn.Module, images: Images, *, epochs: int, rate: float, seed: int, move: Move | None = None
) -> nn.Module:
    """Return a copy of `network` trained on `images` with AdamW, the rate falling to zero in a straight line.

    The order of the images depends on `seed` alone, so that two networks see the same batches.

    Args:
        network: maps f32[n, 1, height, width] to logits f32[n, 10]; it is not changed.
        move: makes another batch of a batch, to train on more than there is.
    """
    network = copy.deepcopy(network).train()
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * -(-len(images.digits) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for _ in range(epochs):
            for pixels, digits in images.batches(generator):
                optimizer.zero_grad()
                F.cross_entropy(network(move(pixels, generator) if move else pixels), digits).backward()
                optimizer.step()
                schedule.step()
    return network.eval()
