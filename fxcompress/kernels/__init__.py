"""Operators for lowered graphs, `torch.ops.fxcompress.*`: importing this package registers all of them.

Each has a flat schema, a CPU implementation and a rule for types. The weights stay plain int8 tensors of the module;
what a backend wants packed is kept beside them, never in the state.
"""

from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.kernels import (
    attention,
    convolution,
    embedding,
    fake_quantize,
    gpu,
    groups,
    held,
    images,
    linear,
    masked,
    narrow,
    pooling,
    ranges,
    shared_weights,
    sparse,
    tokens,
)

__all__ = [
    "attention",
    "convolution",
    "embedding",
    "fake_quantize",
    "gpu",
    "groups",
    "held",
    "images",
    "linear",
    "masked",
    "narrow",
    "pooling",
    "ranges",
    "shared_weights",
    "sparse",
    "tokens",
]

# A graph that was quantized and not lowered calls these.
quantized_decomposed()
