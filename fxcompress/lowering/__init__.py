"""Lowering: which patterns of quantize and dequantize nodes a kernel can take over, which one, and the graph after."""

from fxcompress import kernels

__all__ = ["kernels"]
