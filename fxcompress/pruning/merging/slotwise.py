"""What calls do to slots one by one: whether they keep multiples, or only what is the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch.fx import Node

from fxcompress.analysis.axes.axis import Axis, Value
from fxcompress.graph.module import training_flag
from fxcompress.graph.nodes import argument, argument_names, is_call
from fxcompress.pruning.merging.signatures import (
    Affine,
    Block,
    Signature,
    affine_rows,
    alike,
    same_term,
    times,
    together,
)

aten = torch.ops.aten


def packets(*names: str) -> tuple[Any, ...]:
    """Return the ATen packets of `names`, those that this torch has."""
    return tuple(getattr(aten, name) for name in names if hasattr(aten, name))


LAYERS = packets("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
MATRICES = packets("matmul", "mm", "bmm", "mv", "addmm", "baddbmm", "addmv")
PRODUCTS = (*LAYERS, *MATRICES)
_FIRST = {aten.addmm: 1, aten.baddbmm: 1, aten.addmv: 1}

# What only moves numbers: a map of them stays one, a view of a stored tensor is that tensor still.
_MOVES = (
    *packets(
        "view", "reshape", "_unsafe_view", "view_as", "reshape_as", "flatten", "unflatten", "squeeze", "unsqueeze"
    ),
    *packets("permute", "transpose", "t", "numpy_T", "mT", "movedim", "contiguous", "clone", "alias", "detach"),
    *packets("slice", "narrow", "select", "split", "split_with_sizes", "chunk", "tensor_split", "unbind", "dropout"),
)
# f(s x) = s f(x) for every positive s.
_HOMOGENEOUS = (
    *packets("relu", "leaky_relu", "abs", "neg", "positive", "sum", "mean", "amax", "amin", "embedding", "prelu"),
    *packets("avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d"),
    *packets("adaptive_avg_pool3d", "max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices"),
    *packets("adaptive_max_pool1d", "adaptive_max_pool2d", "upsample_nearest1d", "upsample_nearest2d"),
    *packets("upsample_nearest3d", "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "im2col"),
    *packets("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "expand", "expand_as", "repeat", "roll", "flip"),
    *packets("to", "_to_copy", "type_as", "index", "index_select", "feature_dropout", "alpha_dropout"),
)


class Given(Protocol):
    """What is known of the inputs of a call."""

    def of(self, node: object) -> Signature: ...

    def carried(self, node: object) -> Value | None: ...

    def axis(self, value: Value) -> Axis | None: ...

    def rows(self, path: str, axis: Axis) -> torch.Tensor: ...


def draws(node: Node) -> bool:
    """Whether a call draws random numbers, as it stands in the graph."""
    if torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
        return False
    if is_call(node, aten.scaled_dot_product_attention):
        return bool(argument(node, "dropout_p"))
    flag = training_flag(node)
    return flag is None or bool(argument(node, flag))


def keeps_stored(node: Node) -> bool:
    """Whether a call gives a view of what it is given."""
    return is_call(node, *_MOVES)


def operands(node: Node) -> Sequence[Any]:
    """Return the two tensors that a layer or a product of matrices multiplies; a weight comes second."""
    start = next((place for packet, place in _FIRST.items() if is_call(node, packet)), 0)
    if is_call(node, *LAYERS):
        return argument(node, "input"), argument(node, "weight")
    return node.args[start : start + 2]


def added(node: Node) -> Any:
    """Return what a layer or a product of matrices adds, None where it adds nothing."""
    if is_call(node, *LAYERS):
        return argument(node, "bias")
    return argument(node, "self") if is_call(node, *_FIRST) else None


def signature_of(given: Given, node: Node) -> Signature:
    """Return the signature of what a call gives whose rule hands the slots on."""
    handler = next((made for packets_, made in _HANDLERS if is_call(node, *packets_)), None)
    found = None if handler is None else handler(given, node)
    return _same(given, node) if found is None else found


def _same(given: Given, node: Node) -> Signature:
    """Any function, the same for every slot: equal slots give equal ones."""
    return alike(given.of(one) for one in node.all_input_nodes)


def _move(given: Given, node: Node) -> Signature:
    return given.of(node.args[0])


def _homogeneous(given: Given, node: Node) -> Signature | None:
    rest = [one for one in node.all_input_nodes if one is not node.args[0] and given.carried(one) is not None]
    first = given.of(node.args[0]).alone()
    return times(first, alike(map(given.of, rest))) if first.scaled else None


def _pad(given: Given, node: Node) -> Signature | None:
    return None if argument(node, "value") else given.of(node.args[0]).alone()


def _side_by_side(given: Given, node: Node) -> Signature:
    """What lies beside the slots in their own axis is none of theirs."""
    return together(given.of(one) for one in node.all_input_nodes if given.carried(one) is not None)


def _sum(given: Given, node: Node) -> Signature | None:
    parts = node.args[:2]
    return together(map(given.of, parts)) if all(isinstance(one, Node) for one in parts) else None


def _multiply(given: Given, node: Node) -> Signature:
    return times(*(given.of(one) for one in node.args[:2]))


def _divide(given: Given, node: Node) -> Signature | None:
    first, second = (given.of(one) for one in node.args[:2])
    return times(first, alike([second])) if first.scaled and _left_out(node, "rounding_mode") else None


def _left_out(node: Node, name: str) -> bool:
    """Whether a call has no argument `name`, or has none given for it."""
    return name not in argument_names(node) or argument(node, name) is None


def _product(given: Given, node: Node) -> Signature:
    """Where the input does not have the slots, an affine map of it; else a product, slot by slot."""
    value, weight = operands(node)
    bias = added(node)
    if given.carried(value) is None and _is_map(given, node, weight, bias):
        return _affine(given, weight, bias).signature()
    made = times(given.of(value), given.of(weight))
    return made if bias is None else together([made, given.of(bias)])


def _is_map(given: Given, node: Node, weight: Any, bias: Any) -> bool:
    """Whether weight and bias of a layer are stored, with the slots in one order."""
    if not is_call(node, *LAYERS) or not _is_stored(given, weight):
        return False
    return bias is None or (_is_stored(given, bias) and same_term(_axis(given, bias).term, _axis(given, weight).term))


def _is_stored(given: Given, node: Any) -> bool:
    return isinstance(node, Node) and node.op == "get_attr" and given.carried(node) is not None


def _affine(given: Given, weight: Node, bias: Node | None) -> Affine:
    rows = _stored_rows(given, weight)
    return Affine(_axis(given, weight).term, affine_rows(rows, None if bias is None else _stored_rows(given, bias)))


def _axis(given: Given, node: Node) -> Axis:
    value = given.carried(node)
    axis = None if value is None else given.axis(value)
    assert axis is not None
    return axis


def _stored_rows(given: Given, node: Node) -> torch.Tensor:
    path = given.of(node).stored
    assert path is not None
    return given.rows(path, _axis(given, node))


def _batch_norm(given: Given, node: Node) -> Signature | None:
    """In evaluation a scale and a shift of its own for each channel."""
    mean, var = argument(node, "running_mean"), argument(node, "running_var")
    own = [one for name in ("weight", "bias") if (one := argument(node, name)) is not None]
    if argument(node, "training") or not all(_is_stored(given, one) for one in (mean, var, *own)):
        return None
    scale = torch.rsqrt(_vector(given, var) + argument(node, "eps"))
    if argument(node, "weight") is not None:
        scale = scale * _vector(given, argument(node, "weight"))
    shift = -_vector(given, mean) * scale
    if argument(node, "bias") is not None:
        shift = shift + _vector(given, argument(node, "bias"))
    before = given.of(argument(node, "input"))
    if before.affine is not None and same_term(before.affine.term, _axis(given, mean).term):
        return before.affine.then(scale, shift).signature()
    factor = Signature((), (Block(lambda: scale),))
    return together([times(before, factor), Signature((Block(lambda: shift),), ())])


def _vector(given: Given, node: Node) -> torch.Tensor:
    """Return f64[slots, times] of a stored vector."""
    return _stored_rows(given, node).double()[..., 0]


def _attention(given: Given, node: Node) -> Signature | None:
    """Linear in the values, where only they have the slots."""
    others = (argument(node, name) for name in ("query", "key", "attn_mask"))
    if any(given.carried(one) is not None for one in others):
        return None
    return given.of(argument(node, "value")).alone()


_HANDLERS: tuple[tuple[tuple[Any, ...], Callable[[Given, Node], Signature | None]], ...] = (
    (_MOVES, _move),
    (_HOMOGENEOUS, _homogeneous),
    (packets("constant_pad_nd", "pad"), _pad),
    (packets("cat", "concat", "stack"), _side_by_side),
    (packets("add", "sub", "maximum", "minimum"), _sum),
    (packets("mul"), _multiply),
    (packets("div"), _divide),
    (PRODUCTS, _product),
    (packets("batch_norm"), _batch_norm),
    (packets("scaled_dot_product_attention"), _attention),
)
