"""Lowering for a GPU: which kernel calculates each linear, by predicted times, and the calls that it becomes."""

from fxcompress.lowering.gpu.block_sparse import BLOCK_SPARSE
from fxcompress.lowering.gpu.kernels import DENSE, FLOAT8, INT8, WEIGHT_ONLY

KERNELS = {kernel.name: kernel for kernel in (DENSE, WEIGHT_ONLY, INT8, FLOAT8, BLOCK_SPARSE)}
