"""Linears as other packages calculate them. One that is not installed, or does not run, is named with its reason."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from on_gpu.contenders import BLOCK, GROUP, SPARSITIES, Contender, Linear, kept_blocks
from on_gpu.floors import Work

Tensor = torch.Tensor
Make = Callable[[int, int, str], Linear]
# Configurations of torchao, and what they have to read.
TORCHAO: dict[str, tuple[str, dict[str, int], float, bool]] = {
    "torchao w8a16": ("Int8WeightOnlyConfig", {}, 8.0, False),
    "torchao w4a16": ("Int4WeightOnlyConfig", {"group_size": GROUP}, 4 + 16 / GROUP, False),
    "torchao w8a8": ("Int8DynamicActivationInt8WeightConfig", {}, 8.0, True),
    "torchao fp8": ("Float8DynamicActivationFloat8WeightConfig", {}, 8.0, True),
}
# Of a block of `bsr_dense_addmm`.
SIDE = 64


def peers(m: int, n: int, k: int) -> list[Contender]:
    """Return the peers' ways for a weight [n, k] and m rows; whether they run shows when they are made."""
    found = [
        Contender(name, Work(m, n, k, bits, eight=eight), torchao(config, arguments))
        for name, (config, arguments, bits, eight) in TORCHAO.items()
    ]
    for bits, group in ((8, 0), (4, GROUP)):
        work = Work(m, n, k, bits + (16 / group if group else 0))
        found.append(Contender(f"gemlite w{bits}a16", work, gemlite(bits, group)))
    for sparsity in SPARSITIES:
        work = Work(m, n, k, kept=kept_blocks(k, sparsity) * BLOCK[1] / k)
        found.append(Contender(f"bsr_dense_addmm {sparsity:.0%}", work, bsr(sparsity)))
    return found


def torchao(config: str, arguments: dict[str, int]) -> Make:
    """Return what makes a linear that torchao quantized, compiled as its documentation advises."""

    def make(n: int, k: int, device: str) -> Linear:
        quantization = importlib.import_module("torchao.quantization")
        layer = nn.Linear(k, n, bias=False, device=device, dtype=torch.bfloat16)
        weight = layer.weight.detach().clone()
        module = nn.Sequential(layer).requires_grad_(False)
        quantization.quantize_(module, getattr(quantization, config)(**arguments))
        return Linear(torch.compile(module, mode="max-autotune-no-cudagraphs"), weight.float)

    return make


def gemlite(bits: int, group: int) -> Make:
    """Return what makes a linear of gemlite's kernels, with random integers and a zero point in the middle."""

    def make(n: int, k: int, device: str) -> Linear:
        package: Any = importlib.import_module("gemlite.core")
        columns, middle = group or k, 2 ** (bits - 1)
        integers = torch.randint(0, 2 * middle, (n, k), device=device, dtype=torch.uint8)
        scales = torch.rand(n, k // columns, device=device).to(torch.bfloat16) / middle
        kind = package.DType.BF16
        sizes = {"group_size": columns, "in_features": k, "out_features": n}
        layer = package.GemLiteLinear(bits, **sizes, input_dtype=kind, output_dtype=kind)
        layer.pack(integers, scales, torch.full_like(scales, middle), None)

        def widened() -> Tensor:
            centred = integers.float().view(*scales.shape, -1) - middle
            wide: Tensor = (centred * scales.float().unsqueeze(-1)).view(n, k)
            return wide

        return Linear(layer, widened)

    return make


def bsr(sparsity: float) -> Make:
    """Return what makes a weight of square blocks for the kernel that torch ships."""

    def make(n: int, k: int, device: str) -> Linear:
        kernels: Any = importlib.import_module("torch.sparse._triton_ops")
        order = torch.rand(n // SIDE, k // SIDE, device=device).argsort(1).argsort(1)
        kept = order < round((1 - sparsity) * (k // SIDE))
        mask = kept.repeat_interleave(SIDE, 0).repeat_interleave(SIDE, 1)
        weight = torch.randn(n, k, device=device, dtype=torch.bfloat16) * mask
        stored = weight.to_sparse_bsr((SIDE, SIDE))

        def run(x: Tensor) -> Tensor:
            start = x.new_empty(n, x.shape[0])
            made: Tensor = kernels.bsr_dense_addmm(start, stored, x.t(), beta=0).t()
            return made

        return Linear(run, weight.float)

    return make
