"""Zero points that dequantize nodes leave out, for tools that fuse or compile only those which have them."""

from __future__ import annotations

import torch
from torch.fx import GraphModule

from fxcompress.graph.nodes import argument, calls, set_argument
from fxcompress.graph.quantized import quantized_decomposed
from fxcompress.graph.tensors import add_tensor, tensor_of


def write_zero_points(module: GraphModule) -> int:
    """Store zeros for every `dequantize_per_channel` without zero points; return for how many.

    ONNX Runtime fuses a linear only where all zero points are there, and Inductor compiles no such node without them.
    """
    found = 0
    for node in calls(module.graph, quantized_decomposed().dequantize_per_channel.default):
        scales = tensor_of(module, argument(node, "scales"))
        if scales is None or argument(node, "zero_points") is not None:
            continue
        integers, dtype = argument(node, "input"), argument(node, "dtype")
        zeros = add_tensor(module, f"{integers.target}_zero", torch.zeros(scales.shape, dtype=dtype), node)
        set_argument(node, "zero_points", zeros)
        found += 1
    return found
