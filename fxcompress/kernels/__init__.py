"""Operators for lowered graphs, `torch.ops.fxcompress.*`: importing this package registers all of them.

Each has a flat schema, a CPU implementation and a rule for types. The weights stay plain int8 tensors of the module;
what a backend wants packed is kept beside them, never in the state.
"""

from fxcompress.kernels import convolution, embedding, fake_quantize, linear

__all__ = ["convolution", "embedding", "fake_quantize", "linear"]
