"""What stands behind the product of a linear: activation function, residual, norm, and quantization of the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

# How many tensors each output is.
OUTPUTS = {"sum": 1, "out": 1, "tokens": 3, "bytes": 1}


class Behind(NamedTuple):
    """The rest of a layer, in the order in which it is calculated.

    Attributes:
        post: one of `POSTS`.
        residual: float32 of the shape of the result, added behind the activation function; uint8 with
            `residual_scale` and `residual_zero` where these are given.
        late_post: a second activation function, behind the residual.
        norm: none, layer or rms, over the last axis, with `norm_weight`, `norm_bias` and `eps`.
        outputs: what is wanted: `sum` float32 before the norm; `out` float32 behind it; `tokens`, which is `out`
            quantized row by row: uint8, and float32 scales and int32 zero points without the last axis; or `bytes`,
            uint8 by the scale and zero point of `fixed`.
    """

    post: str = "none"
    residual: torch.Tensor | None = None
    norm: str = "none"
    norm_weight: torch.Tensor | None = None
    norm_bias: torch.Tensor | None = None
    eps: float = 0.0
    outputs: Sequence[str] = ("out",)
    fixed: tuple[float, int] | None = None
    late_post: str = "none"
    residual_scale: float = 0.0
    residual_zero: int = 0
