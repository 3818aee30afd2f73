"""A plain training loop: one pass over the data."""

from __future__ import annotations

import torch
from torch.fx import GraphModule

from fxcompress.capturing import as_inputs
from fxcompress.contract import TrainingData


def train_once(module: GraphModule, data: TrainingData, learning_rate: float) -> float:
    """Train `module` for one epoch with Adam and leave it in evaluation mode; return the mean loss."""
    module.train()
    optimizer = torch.optim.Adam((one for one in module.parameters() if one.requires_grad), lr=learning_rate)
    losses = []
    for inputs, targets in data.batches:
        given = as_inputs(inputs)
        optimizer.zero_grad()
        loss = data.loss(module(*given.args, **given.kwargs), targets)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    module.eval()
    return sum(losses) / len(losses) if losses else 0.0
