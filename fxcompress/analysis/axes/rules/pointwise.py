"""Calls that treat every position alike: the axes of all that they take are, broadcast, those of what they give."""

from __future__ import annotations

import torch

from fxcompress.analysis.axes.op import Op
from fxcompress.analysis.axes.rules.table import KEEP, LOSE, POINTWISE, named, rule


@rule(
    *named("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "native_dropout", "rrelu"),
    *named("clone", "contiguous", "alias", "detach", "lift_fresh_copy", "positive", "conj", "resolve_conj", "imag"),
    *named("masked_fill", "where", "addcmul", "addcdiv", "lerp", "clamp", "_prelu_kernel"),
    *named("hardswish", "hardtanh", "relu6", "mish", "selu", "celu", "elu", "leaky_relu", "log_sigmoid", "hardsigmoid"),
    *named("hardshrink", "softshrink", "threshold", "square", "float_power", "true_divide", "softplus"),
    *named("special_expit", "floor_divide"),
    *(torch.ops.aten.max.other, torch.ops.aten.min.other),
    *named("fill", "fake_quantize_per_tensor_affine", "nan_to_num", "bernoulli", "logical_and", "real"),
    zeros=POINTWISE,
)
def pointwise(op: Op) -> None:
    for value in op.tensors():
        for output in op.outputs:
            if output is not None:
                op.broadcast(value, output)


@rule(*named("prelu"), zeros=POINTWISE)
def prelu(op: Op) -> None:
    given, slope = op.given("self"), op.given("weight")
    op.broadcast(given)
    if slope.axes and slope.axes[0].size > 1:
        op.equal(slope.axes[-1] if len(slope.axes) == 1 else slope.axes[min(1, len(slope.axes) - 1)], given.axes[1])


@rule(*named("to", "_to_copy", "type_as", "zero", "zeros_like", "ones_like", "full_like", "empty_like", "rand_like"))
@rule(*named("randn_like", "float", "double", "half"))
def like_the_first(op: Op) -> None:
    """Only the first tensor gives its axes; another one gives its type alone."""
    op.broadcast(op.given("self"))


@rule(*named("ones_like", "full_like", "rand_like", "randn_like"), zeros=LOSE)
def filled_like(op: Op) -> None:
    op.broadcast(op.given("self"))


@rule(*named("expand_as"), zeros=KEEP)
def expand_as(op: Op) -> None:
    pointwise(op)


@rule(*named("meshgrid"), zeros=LOSE)
def meshgrid(op: Op) -> None:
    swapped = op.argument("indexing") == "xy" if "indexing" in str(op.node.target) else False
    for place, value in enumerate(op.inputs("tensors")):
        dim = 1 - place if swapped and place < 2 else place
        for output in op.outputs:
            if value is not None and value.axes and output is not None:
                op.equal(value.axes[0], output.axes[dim])


@rule(*named("glu"))
def glu(op: Op) -> None:
    given, dim = op.given("self"), op.argument("dim") % len(op.output.axes)
    for one, other in zip(given.axes, op.output.axes, strict=True):
        if one.dim == dim:
            op.cat([other, other], one)
        else:
            op.equal(one, other)
