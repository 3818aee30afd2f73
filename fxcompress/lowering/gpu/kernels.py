"""The built-in kernels for linears of floats and of quantized weights: what they take, cost, and become."""

from __future__ import annotations

import torch
from torch.fx import Node

from fxcompress.contract.kernels import Device, Kernel, Linear, Site
from fxcompress.kernels.gpu.nibbles import pack_nibbles

ops = torch.ops.fxcompress
FP8 = torch.float8_e4m3fn


def around(linear: Linear, width: float | None = None) -> float:
    """Return the bytes of x, of `width` bytes an element, of the result, and of the residual."""
    results = linear.rows * linear.outputs * (2 if linear.residual else 1) / (2 if linear.gated else 1)
    size = linear.dtype.itemsize
    return linear.rows * linear.features * (size if width is None else width) + results * size


def work(linear: Linear) -> float:
    return 2.0 * linear.rows * linear.outputs * linear.features


def stored_bytes(linear: Linear) -> float:
    """Return the bytes of the weight and its scales, as a kernel reads them."""
    weight = linear.weight
    bits = weight.bits if weight.quantized else 8 * weight.values.element_size()
    tables = [table for table in (weight.scales, weight.zeros) if table is not None]
    return weight.values.numel() * bits / 8 + sum(table.numel() * table.element_size() for table in tables)


def floats(linear: Linear, device: Device) -> float:
    """Return the microseconds of a dense product of floats."""
    moved = linear.outputs * linear.features * linear.dtype.itemsize + around(linear)
    return device.microseconds("dense", moved=moved, work=work(linear), dtype=linear.dtype)


def _dense_refuses(linear: Linear) -> str | None:
    return "its weight is quantized; as floats it would take more memory" if linear.weight.quantized else None


def _dense_builds(linear: Linear, site: Site) -> Node:
    raise AssertionError("a dense linear stays as it is")


def _weight_only_refuses(linear: Linear) -> str | None:
    if not linear.weight.quantized:
        return "its weight is not quantized"
    return None if linear.weight.values.dtype == torch.int8 else "its weight is of 8-bit floats"


def _weight_only_costs(linear: Linear, device: Device) -> float:
    """Of many rows the operator makes floats of the weight, in a call of their own, and multiplies these."""
    at_once = device.microseconds(
        "weight-only", moved=stored_bytes(linear) + around(linear), work=work(linear), dtype=linear.dtype
    )
    written = stored_bytes(linear) + linear.outputs * linear.features * linear.dtype.itemsize
    first = device.microseconds("otherwise", moved=written, work=0, dtype=linear.dtype)
    return min(at_once, first + floats(linear, device))


def _weight_only_builds(linear: Linear, site: Site) -> Node:
    weight = linear.weight
    if linear.gated:
        return _gated_builds(linear, site)
    stored = site.weight if weight.bits == 8 else site.store("nibbles", pack_nibbles(weight.values))
    behind = (site.bias, site.residual, weight.bits, weight.group, linear.activation)
    return site.call(ops.gpu_linear_weight_only.default, site.given, stored, site.scales, site.zeros, *behind)


def _gated_builds(linear: Linear, site: Site) -> Node:
    weight, operands = linear.weight, list[Node | None]()
    for word, values, (stored, *tables) in zip(("gate", "up"), weight.values.chunk(2), site.parts(), strict=True):
        packed = stored if weight.bits == 8 else site.store(f"{word}_nibbles", pack_nibbles(values))
        operands += [packed, *tables]
    return site.call(ops.gpu_linear_gated.default, site.given, *operands, weight.bits, weight.group, linear.activation)


def rounded_costs(name: str, linear: Linear, device: Device, dtype: torch.dtype) -> float:
    """Return the microseconds of rounding x to 8 bits and of a product in them."""
    moved = linear.rows * linear.features * (linear.dtype.itemsize + 1)
    before = device.microseconds("otherwise", moved=moved, work=0, dtype=dtype)
    return before + device.microseconds(
        name, moved=stored_bytes(linear) + around(linear, 1), work=work(linear), dtype=dtype
    )


def _int8_refuses(linear: Linear) -> str | None:
    if linear.weight.values.dtype != torch.int8 or linear.weight.group or linear.weight.zeros is not None:
        return "its weight is not int8 with one scale an output"
    return "its input is not rounded" if linear.rounding == "none" else None


def _int8_costs(linear: Linear, device: Device) -> float:
    return rounded_costs("int8", linear, device, torch.int8)


def _int8_builds(linear: Linear, site: Site) -> Node:
    values, row_scales = site.rounded(torch.int8)
    bias = site.bias if linear.step is None else site.store("bias_moved", moved_bias(linear, site.bias_values()))
    behind = (bias, site.residual, linear.activation, linear.dtype)
    return site.call(ops.gpu_linear_int8.default, values, row_scales, site.weight, site.scales, *behind)


def moved_bias(linear: Linear, bias: torch.Tensor | None) -> torch.Tensor:
    """Return the bias less what the zero point of x adds to every result, float32: x is `scale * (value - zero)`."""
    assert linear.step is not None
    assert linear.weight.scales is not None
    scale, zero = linear.step
    sums = linear.weight.values.sum(1, dtype=torch.int64).double() * linear.weight.scales.double().view(-1)
    added = scale * (zero - 128) * sums
    return ((0 if bias is None else bias.double()) - added).float()


def _fp8_refuses(linear: Linear) -> str | None:
    return None if linear.weight.values.dtype == FP8 else "its weight is not of 8-bit floats"


def _fp8_costs(linear: Linear, device: Device) -> float:
    return rounded_costs("fp8", linear, device, FP8)


def _fp8_builds(linear: Linear, site: Site) -> Node:
    behind = (site.bias, site.residual, linear.activation, linear.dtype)
    values, row_scales = site.rounded(FP8)
    return site.call(ops.gpu_linear_fp8.default, values, row_scales, site.weight, site.scales, *behind)


# It stands for the linear as it is, and is never built.
DENSE = Kernel("dense", _dense_refuses, floats, _dense_builds, priority=1)
WEIGHT_ONLY = Kernel("weight-only", _weight_only_refuses, _weight_only_costs, _weight_only_builds, gated=True)
INT8 = Kernel("int8", _int8_refuses, _int8_costs, _int8_builds)
FLOAT8 = Kernel("fp8", _fp8_refuses, _fp8_costs, _fp8_builds)
