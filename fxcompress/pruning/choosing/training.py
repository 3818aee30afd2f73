"""A plain training loop: one pass over the data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.fx import GraphModule

from fxcompress.capturing import as_inputs
from fxcompress.contract import TrainingData


def train_once(
    module: GraphModule,
    data: TrainingData,
    learning_rate: float,
    *,
    seed: int = 0,
    look: Callable[[], None] = lambda: None,
) -> float:
    """Train `module` for one epoch with Adam and leave it in evaluation mode; return the mean loss.

    Args:
        seed: of what is random, dropout and the order of the data; the global generator is left as it was.
        look: called before every step of the optimizer, when the gradients are there.
    """
    module.train()
    optimizer = torch.optim.Adam((one for one in module.parameters() if one.requires_grad), lr=learning_rate)
    losses = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for inputs, targets in data.batches:
            given = as_inputs(inputs)
            optimizer.zero_grad()
            loss = data.loss(module(*given.args, **given.kwargs), targets)
            loss.backward()
            look()
            optimizer.step()
            losses.append(float(loss.detach()))
    optimizer.zero_grad()
    module.eval()
    return sum(losses) / len(losses) if losses else 0.0
