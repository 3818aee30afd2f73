"""Multiply-accumulates of a call, by op: one rule for each op that multiplies tensors with each other and adds up.

What PyTorch composes of such ops (`lstm`, `einsum`, `scaled_dot_product_attention`) has a rule of its own, so that a
graph is counted as it stands. Element-wise ops, normalisations, pooling and interpolation count zero by convention;
attention counts both products in full, also where it is causal. `torch.utils.flop_counter` gives twice as much (a
multiplication and an addition each), except that it does not see into fused kernels: attention and LSTM on the CPU,
`nn.MultiheadAttention` in its fast path, grouped products.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch.fx import Node

from fxcompress.analysis.sizes import elements_of, shape_of
from fxcompress.graph.nodes import argument

Rule = Callable[[Node], int]


def convolution(node: Node) -> int:
    """Each output element reads a window of its group's input channels."""
    return elements_of(node) * math.prod(shape_of(argument(node, "weight"))[1:])


def transposed_convolution(node: Node) -> int:
    """Each input element is spread over a window of its group's output channels."""
    return elements_of(argument(node, "input")) * math.prod(shape_of(argument(node, "weight"))[1:])


def any_convolution(node: Node) -> int:
    return transposed_convolution(node) if argument(node, "transposed") else convolution(node)


def convolution_time_first(node: Node) -> int:
    """`conv_tbc`: weight [width, in, out]."""
    width, channels, _ = shape_of(argument(node, "weight"))
    return elements_of(node) * width * channels


def linear(node: Node) -> int:
    return elements_of(node) * shape_of(argument(node, "input"))[-1]


def product_of(name: str) -> Rule:
    """Return the rule for a product whose left operand, the argument `name`, is contracted over its last axis."""

    def rule(node: Node) -> int:
        return elements_of(node) * shape_of(argument(node, name))[-1]

    return rule


def summed_batches(node: Node) -> int:
    """`addbmm`: a sum of products [b, n, m] @ [b, m, p]."""
    return elements_of(argument(node, "batch1")) * shape_of(argument(node, "batch2"))[-1]


def grouped_product(left_name: str, right_name: str) -> Rule:
    """Return the rule for `_grouped_mm`: rows are sorted by group, and each is multiplied with its group's matrix."""

    def rule(node: Node) -> int:
        left, right = argument(node, left_name), argument(node, right_name)
        if len(shape_of(left)) == len(shape_of(right)) == 2:
            return elements_of(left) * shape_of(right)[-1]
        return elements_of(node) * shape_of(left)[-1]

    return rule


def tensordot(node: Node) -> int:
    left, right = shape_of(argument(node, "self")), shape_of(argument(node, "other"))
    contracted = math.prod(left[dim] for dim in argument(node, "dims_self"))
    return math.prod(left) * math.prod(right) // contracted if contracted else 0


def einsum(node: Node) -> int:
    """Operands are contracted pairwise, along the path that is given or else from the left."""
    shapes = [shape_of(operand) for operand in argument(node, "tensors")]
    inputs, output = subscripts(argument(node, "equation"), [len(shape) for shape in shapes])
    sizes: dict[str, int] = {}
    for letters, shape in zip(inputs, shapes, strict=True):
        for letter, size in zip(letters, shape, strict=True):
            sizes[letter] = max(sizes.get(letter, 1), size)
    operands, total = [set(letters) for letters in inputs], 0
    path = argument(node, "path") or [0, 1] + [0, -1] * (len(operands) - 2)
    while len(operands) > 1:
        first, second, *path = path
        left, right = operands[first], operands[second]
        operands = [operand for operand in operands if operand is not left and operand is not right]
        kept = set(output).union(*operands)
        if left & right - kept:
            # An axis of one operand alone that nobody asks for is summed before the product.
            total += math.prod(sizes[letter] for letter in (left & right) | ((left | right) & kept))
        operands.append((left | right) & kept)
    return total


def subscripts(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """Return the letters of every operand and of the result; what `...` stands for becomes capital-like letters.

    Args:
        equation: as `torch.einsum` takes it, with or without `->`.
        ranks: the number of axes of every operand.
    """
    left, arrow, output = equation.replace(" ", "").partition("->")
    words = left.split(",")
    widths = [rank - len(word.replace("...", "")) for word, rank in zip(words, ranks, strict=True)]
    # Characters outside the alphabet; the last one is the last axis, since `...` is aligned on the right.
    batch = "".join(chr(0x391 + i) for i in range(max([0, *widths])))
    inputs = [word.replace("...", batch[len(batch) - width :]) for word, width in zip(words, widths, strict=True)]
    if not arrow:
        named = "".join(words).replace("...", "")
        return inputs, batch + "".join(sorted(letter for letter in set(named) if named.count(letter) == 1))
    return inputs, output.replace("...", batch)


def bilinear(node: Node) -> int:
    """`x1 W x2` for every output: first with `x1`, then with what is left."""
    outputs, first, second = shape_of(argument(node, "weight"))
    rows = elements_of(argument(node, "input1")) // first if first else 0
    return rows * outputs * second * (first + 1)


def attention(node: Node) -> int:
    """`query @ key^T` and `weights @ value`, for every head of the query."""
    *batch, queries, width = shape_of(argument(node, "query"))
    *_, keys, value_width = shape_of(argument(node, "value"))
    return math.prod(batch) * queries * keys * (width + value_width)


def recurrent(node: Node) -> int:
    """Every weight matrix is applied to every element of the sequence; a direction has matrices of its own."""
    name = "data" if node.target._overloadname == "data" else "input"  # type: ignore[union-attr]
    steps = math.prod(shape_of(argument(node, name))[:-1])
    shapes = [shape_of(weight) for weight in argument(node, "params")]
    return steps * sum(math.prod(shape) for shape in shapes if len(shape) == 2)


def recurrent_cell(node: Node) -> int:
    rows = math.prod(shape_of(argument(node, "input"))[:-1])
    return rows * (elements_of(argument(node, "w_ih")) + elements_of(argument(node, "w_hh")))


def pairwise_distances(node: Node) -> int:
    """`cdist`: every pair of rows."""
    return elements_of(node) * shape_of(argument(node, "x1"))[-1]


def fused_attention_layer(node: Node) -> int:
    """`_native_multi_head_attention`: three projections, attention, one projection."""
    batch, queries, width = shape_of(argument(node, "query"))
    keys = shape_of(argument(node, "key"))[1]
    projections = batch * width * width * (2 * queries + 2 * keys)
    return projections + 2 * batch * queries * keys * width


def fused_encoder_layer(node: Node) -> int:
    """`_transformer_encoder_layer_fwd`: attention over itself, then two linears."""
    batch, length, width = shape_of(argument(node, "src"))
    hidden = shape_of(argument(node, "ffn_weight_1"))[0]
    return batch * length * width * (4 * width + 2 * length + 2 * hidden)


_LAST_AXIS_OF_SELF = "matmul mm bmm mv dot vdot inner linalg_matmul _int_mm _scaled_mm _weight_int8pack_mm"
_ATTENTION = "attention attention_math flash_attention flash_attention_for_cpu efficient_attention cudnn_attention"

_ATEN_RULES: dict[str, Rule] = {
    **dict.fromkeys(["conv1d", "conv2d", "conv3d"], convolution),
    **dict.fromkeys(["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"], transposed_convolution),
    **dict.fromkeys(["convolution", "_convolution"], any_convolution),
    "conv_tbc": convolution_time_first,
    "linear": linear,
    **dict.fromkeys(_LAST_AXIS_OF_SELF.split(), product_of("self")),
    **dict.fromkeys(["_weight_int4pack_mm", "_weight_int4pack_mm_for_cpu"], product_of("self")),
    **dict.fromkeys(["addmm", "_addmm_activation"], product_of("mat1")),
    "addmv": product_of("mat"),
    "baddbmm": product_of("batch1"),
    "addbmm": summed_batches,
    "_grouped_mm": grouped_product("self", "mat2"),
    "tensordot": tensordot,
    "einsum": einsum,
    "bilinear": bilinear,
    "scaled_dot_product_attention": attention,
    **dict.fromkeys([f"_scaled_dot_product_{word}" for word in _ATTENTION.split()], attention),
    **dict.fromkeys(["lstm", "gru", "rnn_tanh", "rnn_relu"], recurrent),
    **dict.fromkeys(["lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"], recurrent_cell),
    "cdist": pairwise_distances,
    "_native_multi_head_attention": fused_attention_layer,
    "_transformer_encoder_layer_fwd": fused_encoder_layer,
}

# By name and not by object, since not every PyTorch has every op, and other packages register theirs on import.
RULES: Mapping[str, Rule] = MappingProxyType(
    {
        **{f"aten.{name}": rule for name, rule in _ATEN_RULES.items()},
        "transformers.grouped_mm_fallback": grouped_product("input", "weight"),
    }
)


def rule_for(node: Node, rules: Mapping[str, Rule]) -> Rule | None:
    """Return the rule for the op that `node` calls, in place or not; None where there is none."""
    name = str(getattr(node.target, "overloadpacket", node.target))
    return rules.get(name) or rules.get(name.removesuffix("_"))
