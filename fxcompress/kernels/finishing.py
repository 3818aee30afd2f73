"""What stands behind a product, calculated by plain calls of torch: where the native kernels are not there."""

from __future__ import annotations

import torch
from torch.nn import functional

from fxcompress.kernels.activations import quantize_all, quantize_rows, unsigned
from fxcompress.kernels.behind import Behind
from fxcompress.kernels.products import activated


def finish(rows: torch.Tensor, behind: Behind) -> list[torch.Tensor]:
    """Return what `behind` names of the float32 result of a product [rows, outputs], which may be written over."""
    total = activated(rows, behind.post)
    if behind.residual is not None:
        total = total.add_(residual_of(behind).reshape(total.shape))
    total = activated(total, behind.late_post)
    out = normalized(total, behind)
    made: list[torch.Tensor] = []
    for name in behind.outputs:
        if name == "tokens":
            made += tokens_of(out)
        elif name == "bytes":
            assert behind.fixed is not None
            made.append(quantize_all(out, *behind.fixed))
        else:
            made.append(total if name == "sum" else out)
    return made


def residual_of(behind: Behind) -> torch.Tensor:
    """Return the residual in floats."""
    assert behind.residual is not None
    if behind.residual.dtype != torch.uint8:
        return behind.residual
    return behind.residual.to(torch.float32).sub_(behind.residual_zero).mul_(behind.residual_scale)


def normalized(rows: torch.Tensor, behind: Behind) -> torch.Tensor:
    """Return float32 [rows, features] behind the norm."""
    shape = rows.shape[1:]
    if behind.norm == "layer":
        return functional.layer_norm(rows, shape, behind.norm_weight, behind.norm_bias, behind.eps)
    if behind.norm == "rms":
        return functional.rms_norm(rows, shape, behind.norm_weight, behind.eps)
    return rows


def tokens_of(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return float32 [rows, features] as uint8 with a scale and a zero point for each row."""
    made = quantize_rows(rows)
    zeros = made.zeros.add(128).to(torch.int32)
    return unsigned(made.values), made.scales.view(-1), zeros.view(-1)
