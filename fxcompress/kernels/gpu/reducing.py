"""Adding up the sums of parts of K."""

from __future__ import annotations

import torch

from fxcompress.kernels.gpu.jit_reduction import reduction_kernel
from fxcompress.kernels.gpu.launching import Launch, or_other

Tensor = torch.Tensor
BLOCK_N = 256


def reduction(
    sums: Tensor,
    scales: tuple[Tensor, Tensor] | None,
    bias: Tensor | None,
    residual: Tensor | None,
    output: Tensor,
    activation: str,
    gated: bool = False,
) -> Launch:
    """Return what adds up sums [parts, M, padded N] and does what stands behind the product.

    Args:
        scales: of the rows and of the outputs, where the sums have none.
        output: M * N elements, contiguous.
        gated: of 128 columns of the sums the first 64 are gates.
    """
    parts, count, padded = sums.shape
    outputs = output.shape[-1]
    block_m = 1 if count == 1 else 4
    constants = {
        "SCALED": scales is not None,
        "STATIC": scales is not None and scales[0].numel() == 1 and count != 1,
        "GATED": gated,
        "ACTIVATION": activation,
        "BIASED": bias is not None,
        "RESIDUAL": residual is not None,
        "SPLIT_K": parts,
        "BLOCK_M": block_m,
        "BLOCK_N": BLOCK_N,
    }
    read = (sums, *(scales or (sums, sums)), or_other(bias, output), or_other(residual, output))
    # Only the first axis may have more than 65535 programs.
    grid = (-(-count // block_m), -(-outputs // BLOCK_N))
    return Launch(reduction_kernel, grid, (*read, output, count, outputs, padded), constants)
