"""Weights as 8-bit floats (e4m3): four bits of exponent, three of mantissa, and a scale for each output channel."""

from __future__ import annotations

import torch
from torch.fx import GraphModule

from fxcompress.errors import PassFailed
from fxcompress.graph.tensors import add_tensor, set_tensor
from fxcompress.quantizing.nodes import Inserter, read_instead
from fxcompress.weights import Weight

aten = torch.ops.aten
DTYPE = torch.float8_e4m3fn
LARGEST = torch.finfo(DTYPE).max


def round_to_fp8(weight: Weight) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `weight` in units of its scales, rounded to the nearest number of the format, and the scales.

    The largest magnitude of a channel becomes the largest of the format, 448. No number is further off than a
    sixteenth of its magnitude, or than 2**-10 of the scale where it is below 2**-6 of it.

    Returns:
        float8_e4m3fn of the shape of the weight, and float32 with one place along every axis but the output channels'.

    Raises:
        PassFailed: a weight is not finite in float32.
    """
    tensor = weight.tensor.detach()
    if not tensor.float().isfinite().all():
        raise PassFailed(f"{weight.path} holds numbers that are not finite", weight.readers[0])
    others = [axis for axis in range(tensor.dim()) if axis != weight.output_axis]
    scales = (tensor.float().abs().amax(others, True) if others else tensor.float().abs()) / LARGEST
    scales = torch.where(scales > 0, scales, torch.ones_like(scales))
    # Beyond the largest number there is none but NaN.
    values = (tensor.double() / scales.double()).float().clamp(-LARGEST, LARGEST).to(DTYPE)
    return values, scales


def insert_fp8(module: GraphModule, weight: Weight, values: torch.Tensor, scales: torch.Tensor) -> dict[str, object]:
    """Store 8-bit floats, and let all that read `weight` read them widened and scaled; return facts of it."""
    first, source = min(weight.users), weight.sources[0]
    scale = add_tensor(module, f"{weight.path}_scale", scales.to(weight.tensor.dtype), first)
    inserter = Inserter(module, first)
    wide = inserter.call(aten.to.dtype, source, weight.tensor.dtype, name=f"{source.name}_widened")
    scaled = inserter.call(aten.mul.Tensor, wide, scale, name=f"{source.name}_dequantized")
    read_instead(module, weight, scaled)
    set_tensor(module, weight.path, values)
    return {"bits": 8, "axis": weight.output_axis, "scale": str(scale.target)}
