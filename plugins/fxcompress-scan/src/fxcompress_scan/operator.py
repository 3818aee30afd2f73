"""The operator `fxcompress_scan::selective_scan`, which torch.export and fxcompress see as one call."""

from __future__ import annotations

from typing import Any

import torch

Tensors = tuple[torch.Tensor, ...]


@torch.library.custom_op("fxcompress_scan::selective_scan", mutates_args=())
def selective_scan(
    x: torch.Tensor, rate: torch.Tensor, decay: torch.Tensor, write: torch.Tensor, read: torch.Tensor
) -> torch.Tensor:
    """Scan over time with a state for each channel, which input and time steer (A. Gu, T. Dao, Mamba, 2023).

        h[t] = exp(rate[t] * decay) * h[t - 1] + rate[t] * x[t] * write[t]        h[-1] = 0
        y[t] = sum of h[t] * read[t] over the state

    Args:
        x: what is scanned, floating [batch, time, channels].
        rate: how far a step goes, [batch, time, channels].
        decay: of every channel's state, [channels, state], not above zero.
        write: how the input goes into the state, [batch, time, state].
        read: how the state comes out, [batch, time, state].

    Returns:
        [batch, time, channels].
    """
    return scanned(x, rate, decay, write, read)


def scanned(
    x: torch.Tensor, rate: torch.Tensor, decay: torch.Tensor, write: torch.Tensor, read: torch.Tensor
) -> torch.Tensor:
    """Compute the scan by operators that torch differentiates."""
    kept = torch.exp(rate.unsqueeze(-1) * decay)
    added = (rate * x).unsqueeze(-1) * write.unsqueeze(2)
    state = torch.zeros_like(added[:, 0])
    rows = []
    for time in range(x.shape[1]):
        state = kept[:, time] * state + added[:, time]
        rows.append((state * read[:, time].unsqueeze(1)).sum(-1))
    return torch.stack(rows, 1)


@selective_scan.register_fake
def _like_x(
    x: torch.Tensor, rate: torch.Tensor, decay: torch.Tensor, write: torch.Tensor, read: torch.Tensor
) -> torch.Tensor:
    return torch.empty_like(x)


def _keep(ctx: Any, inputs: Tensors, output: torch.Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: torch.Tensor) -> Tensors:
    """Run the scan again, with gradients."""
    given = tuple(tensor.detach().requires_grad_() for tensor in ctx.saved_tensors)
    with torch.enable_grad():
        return torch.autograd.grad(scanned(*given), given, gradient)


selective_scan.register_autograd(_backward, setup_context=_keep)
