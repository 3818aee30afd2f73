"""The kernel: which linears it takes, how long it is predicted to take, and the call that it becomes."""

from __future__ import annotations

import torch
from torch.fx import Node

import fxcompress as fxc
from fxcompress.contract import Device, Linear, Site
from fxcompress_sparse24.operator import linear as operator

assert operator  # importing it registers the operator
DTYPES = (torch.float16, torch.bfloat16)
# Sizes that torch packs for every 16-bit dtype, with either of its two libraries.
OUTPUTS, FEATURES = 32, 64
# Fewer rows read the weight and little else, and the libraries pad them; assumed, not measured.
FEWEST_ROWS = 64
# Half of the values, and two bits for the place of each that is kept.
STORED = 0.5 + 0.5 * 2 / 16


def refuses(linear: Linear) -> str | None:
    """Return why a linear is none for the sparse tensor cores, None for one that is."""
    if linear.weight.quantized or linear.dtype not in DTYPES:
        return "its weight is not of 16-bit floats"
    if linear.outputs % OUTPUTS or linear.features % FEATURES:
        return f"its sizes are no multiples of {OUTPUTS} and {FEATURES}"
    if not linear.fact("2:4", lambda: is_two_of_four(linear.weight.values)):
        return "its weight is not 2:4"
    return f"it has fewer than {FEWEST_ROWS} rows" if linear.rows < FEWEST_ROWS else None


def is_two_of_four(weight: torch.Tensor) -> bool:
    """Whether every four neighbours of a row hold two zeros at least; the number of columns divides by four."""
    return bool((weight.view(weight.shape[0], -1, 4).ne(0).sum(-1) <= 2).all())


def cost(linear: Linear, device: Device) -> float:
    """Return the predicted microseconds: half of the work, and hardly more than half of the weight."""
    around = linear.rows * (linear.features + linear.outputs) * linear.dtype.itemsize
    stored = STORED * linear.outputs * linear.features * linear.dtype.itemsize
    work = linear.rows * linear.outputs * linear.features
    behind = (linear.activation != "none") + linear.residual
    return device.microseconds("sparse-24", moved=around + stored, work=work, dtype=linear.dtype, launches=1 + behind)


def build(linear: Linear, site: Site) -> Node:
    """Put the call in, and behind it what the operator does not do."""
    made = site.call(torch.ops.fxcompress_sparse24.linear.default, site.given, site.weight, site.bias)
    return site.behind(made)


SPARSE_24 = fxc.Kernel("sparse-24", refuses, cost, build)
