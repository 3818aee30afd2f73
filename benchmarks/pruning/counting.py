"""Multiply-accumulates and parameters of anything that can be called, by PyTorch's own counter."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def macs(network: nn.Module, image: torch.Tensor) -> int:
    """Return the multiply-accumulates of one call with `image`, counted while it runs.

    The counter belongs to neither of the tools that are compared, and sees what both leave behind alike.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return int(counter.get_total_flops()) // 2


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
