"""Linears of random weights by our operators and by torch's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from fxcompress.kernels.gpu.nibbles import pack_nibbles
from on_gpu.floors import Work

ops = torch.ops.fxcompress
Tensor = torch.Tensor
FP8 = torch.float8_e4m3fn
GROUP = 128
# Rows and columns of a block, and the shares of blocks that are zero.
BLOCK = (128, 16)
SPARSITIES = (0.8, 0.9)


@dataclass(frozen=True)
class Linear:
    """A linear without a bias.

    Attributes:
        run: from bfloat16 [M, K] to bfloat16 [M, N].
        wide: returns the weight as float32 [N, K].
    """

    run: Callable[[Tensor], Tensor]
    wide: Callable[[], Tensor]


@dataclass(frozen=True)
class Contender:
    """One way to calculate a linear.

    Attributes:
        name: of the kernel.
        work: what it has to do at the least.
        make: returns a linear with new random weights; of `n`, `k` and a device.
    """

    name: str
    work: Work
    make: Callable[[int, int, str], Linear]


def contenders(m: int, n: int, k: int) -> list[Contender]:
    """Return cuBLAS in bfloat16 and our kernels, for a weight [n, k] and m rows."""
    found = [
        Contender("cublas bf16", Work(m, n, k), dense),
        Contender("w8a16", Work(m, n, k, 8), weight_only(8, 0)),
        Contender("w4a16", Work(m, n, k, 4 + 16 / GROUP), weight_only(4, GROUP)),
        Contender("w8a8", Work(m, n, k, 8, eight=True), eight_bits(torch.int8)),
        Contender("fp8", Work(m, n, k, 8, eight=True), eight_bits(FP8)),
    ]
    for sparsity in SPARSITIES:
        work = Work(m, n, k, kept=kept_blocks(k, sparsity) * BLOCK[1] / k)
        found.append(Contender(f"block-sparse {sparsity:.0%}", work, block_sparse(sparsity)))
    return found


def dense(n: int, k: int, device: str) -> Linear:
    """A weight of bfloat16, by torch."""
    weight = torch.randn(n, k, device=device, dtype=torch.bfloat16)
    return Linear(lambda x: functional.linear(x, weight), weight.float)


def weight_only(bits: int, group: int) -> Callable[[int, int, str], Linear]:
    """Return what makes a weight of 8 or 4 bits."""

    def make(n: int, k: int, device: str) -> Linear:
        most = 2 ** (bits - 1)
        integers = torch.randint(-most, most, (n, k), device=device, dtype=torch.int8)
        stored = pack_nibbles(integers) if bits == 4 else integers
        scales = torch.rand(n, k // group if group else 1, device=device) / most
        plain = scales if group else scales.view(-1)

        def wide() -> Tensor:
            return integers.float().view(*scales.shape, -1).mul(scales.unsqueeze(-1)).view(n, k)

        return Linear(
            lambda x: ops.gpu_linear_weight_only(x, stored, plain, None, None, None, bits, group, "none"), wide
        )

    return make


def eight_bits(dtype: torch.dtype) -> Callable[[int, int, str], Linear]:
    """Return what makes a weight of 8 bits whose input becomes so in the call."""
    multiply = ops.gpu_linear_int8 if dtype == torch.int8 else ops.gpu_linear_fp8

    def make(n: int, k: int, device: str) -> Linear:
        weight, scales = ops.gpu_quantize_rows(torch.randn(n, k, device=device), dtype=dtype)

        def run(x: Tensor) -> Tensor:
            values, rows = ops.gpu_quantize_rows(x, dtype=dtype)
            made: Tensor = multiply(values, rows, weight, scales, None, None, "none", x.dtype)
            return made

        return Linear(run, lambda: weight.float() * scales.unsqueeze(-1))

    return make


def kept_blocks(k: int, sparsity: float) -> int:
    """Return how many blocks each block row keeps."""
    return max(1, round((1 - sparsity) * (k // BLOCK[1])))


def block_sparse(sparsity: float) -> Callable[[int, int, str], Linear]:
    """Return what makes a weight with equally many blocks in each block row."""

    def make(n: int, k: int, device: str) -> Linear:
        tall, kept = -(-n // BLOCK[0]), kept_blocks(k, sparsity)
        columns = torch.rand(tall, k // BLOCK[1], device=device).argsort(1)[:, :kept].sort(1).values.to(torch.int32)
        blocks = torch.randn(tall * kept, *BLOCK, device=device, dtype=torch.bfloat16)
        return Linear(
            lambda x: ops.gpu_linear_block_sparse(x, blocks, columns, None, None, None, None, BLOCK, n, "none"),
            lambda: dense_of(blocks, columns, n, k).float(),
        )

    return make


def dense_of(blocks: Tensor, columns: Tensor, n: int, k: int) -> Tensor:
    """Return the weight [n, k] whose blocks are given, as of `gpu_linear_block_sparse`."""
    tall, kept = columns.shape
    cells = blocks.new_zeros(tall, k // BLOCK[1], *BLOCK)
    rows = torch.arange(tall, device=columns.device).unsqueeze(1).expand(tall, kept)
    cells[rows, columns.long()] = blocks.view(tall, kept, *BLOCK)
    return cells.transpose(1, 2).reshape(tall * BLOCK[0], k)[:n]
