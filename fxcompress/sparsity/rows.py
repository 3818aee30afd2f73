"""A weight as rows, [outputs, all that an output reads], in which patterns count; and back."""

from __future__ import annotations

import torch

from fxcompress.weights import Weight


def rows_of(weight: Weight, values: torch.Tensor) -> torch.Tensor:
    """Return [outputs, inputs] of a tensor of the weight's shape: a convolution's are [out, in * height * width]."""
    return values.movedim(weight.output_axis, 0).flatten(1)


def from_rows(weight: Weight, rows: torch.Tensor) -> torch.Tensor:
    """Return rows as `rows_of` gave them in the shape of the weight."""
    axis = weight.output_axis
    return rows.reshape(weight.tensor.movedim(axis, 0).shape).movedim(0, axis).contiguous()
