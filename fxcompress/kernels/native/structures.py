"""What the native kernels read: the structures of `source/*.h`, filled from tensors.

A structure holds addresses. Whoever makes one keeps the tensors alive until the call is over.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch

POSTS = {"none": 0, "relu": 1, "gelu": 2, "gelu_tanh": 3, "silu": 4}
NORMS = {"none": 0, "layer": 1, "rms": 2}
_pointer, _long, _float, _int = ctypes.c_void_p, ctypes.c_long, ctypes.c_float, ctypes.c_int


def address(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


class Tokens(ctypes.Structure):
    """Rows of bytes, each with its own scale and zero point (`apart` 1), or all with one (0)."""

    _fields_ = (("bytes", _pointer), ("scales", _pointer), ("zeros", _pointer), ("apart", _long))


class Weights(ctypes.Structure):
    """Packed weights, the sums of their rows, scales and biases filled up to whole vectors, and what is kept."""

    _fields_ = (
        *(("panels", _pointer), ("sums", _pointer), ("scales", _pointer), ("bias", _pointer)),
        *(("features", _long), ("outputs", _long)),
        *(("fours", _pointer), ("starts", _pointer), ("kept_vectors", _long)),
    )


class GroupWeights(ctypes.Structure):
    """Weights of 4 bits, with scales and shifts for each group of features."""

    _fields_ = (
        *(("panels", _pointer), ("scales", _pointer), ("shifts", _pointer), ("bias", _pointer)),
        *(("features", _long), ("outputs", _long), ("group", _long)),
    )


class Kept(ctypes.Structure):
    """What is not zero of float weights: panel after panel, the features that it reads and their weights."""

    _fields_ = (
        *(("weights", _pointer), ("features", _pointer), ("starts", _pointer), ("bias", _pointer)),
        *(("inputs", _long), ("outputs", _long), ("vectors", _long)),
    )


class Behind(ctypes.Structure):
    """What is done with each row behind a product, and where the results go."""

    _fields_ = (
        *(("post", _int), ("residual", _pointer), ("norm", _int)),
        *(("norm_weight", _pointer), ("norm_bias", _pointer), ("eps", _float)),
        *(("sum", _pointer), ("out", _pointer), ("bytes", _pointer), ("scales", _pointer), ("zeros", _pointer)),
        *(("fixed_scale", _float), ("fixed_zero", ctypes.c_int32)),
        *(("residual_bytes", _pointer), ("residual_scale", _float), ("residual_zero", ctypes.c_int32)),
        ("late_post", _int),
    )


class Convolution(ctypes.Structure):
    """An image of bytes, and how the kernel moves over it."""

    _fields_ = (
        *((name, _pointer) for name in ("image", "scale", "zero")),
        *((name, _long) for name in ("batch", "height", "width", "channels", "out_height", "out_width")),
        *((name, _long) for name in ("kernel_height", "kernel_width", "stride_height", "stride_width")),
        *((name, _long) for name in ("pad_height", "pad_width", "dilation_height", "dilation_width", "groups")),
        *((name, _long) for name in ("batch_stride", "row_stride", "pixel_stride", "channel_stride")),
    )


class Images(ctypes.Structure):
    """Floats to be rounded to bytes image by image; `turned` where channels are to come to lie side by side."""

    _fields_ = (
        *((name, _pointer) for name in ("images", "bytes", "scales", "zeros")),
        *((name, _long) for name in ("batch", "pixels", "channels", "turned")),
    )


class Pooling(ctypes.Structure):
    """An image of bytes whose windows give their maxima."""

    _fields_ = (
        *(("image", _pointer), ("out", _pointer)),
        *((name, _long) for name in ("batch", "height", "width", "channels", "out_height", "out_width")),
        *((name, _long) for name in ("kernel_height", "kernel_width", "stride_height", "stride_width")),
        *((name, _long) for name in ("pad_height", "pad_width", "dilation_height", "dilation_width")),
    )


class Strides(ctypes.Structure):
    """Where batches, heads and rows begin, in floats."""

    _fields_ = (("batch", _long), ("head", _long), ("row", _long))


class Attention(ctypes.Structure):
    """Scaled dot-product attention."""

    _fields_ = (
        *((name, _pointer) for name in ("query", "key", "value", "mask", "out")),
        *((name, Strides) for name in ("queries", "keys", "values", "masks", "outs")),
        *((name, _long) for name in ("mask_column", "heads", "shared", "rows", "columns", "features")),
        *(("scale", _float), ("causal", ctypes.c_bool)),
    )


def strides_of(tensor: torch.Tensor | None) -> Strides:
    """Return the strides of [batch, heads, rows, features]; zeros for None."""
    found: Sequence[int] = (0, 0, 0) if tensor is None else tensor.stride()[:3]
    return Strides(*found)
