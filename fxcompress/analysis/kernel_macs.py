"""How many multiply-accumulates the operators of ours take: those that `lower` puts in, and those that pretend."""

from __future__ import annotations

import math

from fxcompress.analysis.macs import Rule, attention, convolution, linear, product_of
from fxcompress.analysis.sizes import Call


def lowered_linear(call: Call) -> int:
    """Several linears of one input."""
    return call.elements("input") * sum(shape[0] for shape in call.shapes("weights"))


def linear_of_tokens(call: Call) -> int:
    return call.elements("values") * sum(shape[0] for shape in call.shapes("weights"))


def gated(call: Call) -> int:
    """Two linears of one input."""
    return call.elements("input") * (call.shape("gate")[0] + call.shape("up")[0])


def pooled_convolution(call: Call) -> int:
    """A convolution whose result only a pooling reads."""
    axes = zip(call.shape("input")[2:], call.shape("weight")[2:], *map(call.argument, _GEOMETRY), strict=True)
    places: int = math.prod((size + 2 * pad - far * (wide - 1) - 1) // step + 1 for size, wide, step, pad, far in axes)
    return call.shape("input")[0] * places * math.prod(call.shape("weight"))


_GEOMETRY = ("stride", "padding", "dilation")


def linear_of_blocks(call: Call) -> int:
    """Each row is multiplied with every block that is kept."""
    return call.elements("input") // call.shape("input")[-1] * call.elements("blocks")


def nothing(call: Call) -> int:
    """What is done element by element or row by row counts zero by convention."""
    return 0


_UNCOUNTED = """
    held_channels held_tensor held_groups held_transposed held_product shared_weights held_shared_weights embedding_rows
    quantize_u8 finish_rows max_pool_u8 round_images choose_token_range choose_sample_range masked fake_quantize_weight
    fake_quantize_tensor fake_quantize_tokens fake_quantize_samples gpu_quantize_rows gpu_quantize_tensor
    gpu_norm_quantize_rows
"""
OWN_RULES: dict[str, Rule] = {
    **dict.fromkeys(["linear_dynamic", "linear_static", "linear_weight_only"], lowered_linear),
    **dict.fromkeys(["linear_groups", "linear_sparse", "linear_bf16", "gpu_linear_weight_only"], linear),
    "linear_tokens": linear_of_tokens,
    "gpu_linear_gated": gated,
    "gpu_linear_block_sparse": linear_of_blocks,
    **dict.fromkeys(["gpu_linear_int8", "gpu_linear_fp8"], product_of("values")),
    **dict.fromkeys(["conv_static", "conv_dynamic", "conv_bf16"], convolution),
    "conv_pool_static": pooled_convolution,
    "attention": attention,
    **dict.fromkeys(_UNCOUNTED.split(), nothing),
}
