"""Multiply-accumulates of a call, by op: one rule for each op that multiplies tensors with each other and adds up.

What PyTorch composes of such ops (`lstm`, `einsum`, `scaled_dot_product_attention`) has a rule of its own, so that a
graph is counted as it stands. Element-wise ops, normalisations, pooling and interpolation count zero by convention;
attention counts both products in full, also where it is causal. `torch.utils.flop_counter` gives twice as much (a
multiplication and an addition each), except that it does not see into fused kernels: attention and LSTM on the CPU,
`nn.MultiheadAttention` in its fast path, grouped products.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from fxcompress.analysis.sizes import Call

# Gives the multiply-accumulates of a call.
Rule = Callable[[Call], int]


def convolution(call: Call) -> int:
    """Each output element reads a window of its group's input channels."""
    return call.result_elements * math.prod(call.shape("weight")[1:])


def transposed_convolution(call: Call) -> int:
    """Each input element is spread over a window of its group's output channels."""
    return call.elements("input") * math.prod(call.shape("weight")[1:])


def any_convolution(call: Call) -> int:
    return transposed_convolution(call) if call.argument("transposed") else convolution(call)


def convolution_time_first(call: Call) -> int:
    """`conv_tbc`: weight [width, in, out]."""
    width, channels, _ = call.shape("weight")
    return call.result_elements * width * channels


def linear(call: Call) -> int:
    return call.result_elements * call.shape("input")[-1]


def product_of(name: str) -> Rule:
    """Return the rule for a product whose left operand, the argument `name`, is contracted over its last axis."""

    def rule(call: Call) -> int:
        return call.result_elements * call.shape(name)[-1]

    return rule


def summed_batches(call: Call) -> int:
    """`addbmm`: a sum of products [b, n, m] @ [b, m, p]."""
    return call.elements("batch1") * call.shape("batch2")[-1]


def grouped_product(left_name: str, right_name: str) -> Rule:
    """Return the rule for `_grouped_mm`: rows are sorted by group, and each is multiplied with its group's matrix."""

    def rule(call: Call) -> int:
        left, right = call.shape(left_name), call.shape(right_name)
        if len(left) == len(right) == 2:
            return math.prod(left) * right[-1]
        return call.result_elements * left[-1]

    return rule


def tensordot(call: Call) -> int:
    left, right = call.shape("self"), call.shape("other")
    contracted = math.prod(left[dim] for dim in call.argument("dims_self"))
    return math.prod(left) * math.prod(right) // contracted if contracted else 0


def einsum(call: Call) -> int:
    """Operands are contracted pairwise, along the path that is given or else from the left."""
    shapes = call.shapes("tensors")
    inputs, output = subscripts(call.argument("equation"), [len(shape) for shape in shapes])
    sizes: dict[str, int] = {}
    for letters, shape in zip(inputs, shapes, strict=True):
        for letter, size in zip(letters, shape, strict=True):
            sizes[letter] = max(sizes.get(letter, 1), size)
    operands, total = [set(letters) for letters in inputs], 0
    path = call.argument("path") or [0, 1] + [0, -1] * (len(operands) - 2)
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


def bilinear(call: Call) -> int:
    """`x1 W x2` for every output: first with `x1`, then with what is left."""
    outputs, first, second = call.shape("weight")
    rows = call.elements("input1") // first if first else 0
    return rows * outputs * second * (first + 1)


def attention(call: Call) -> int:
    """`query @ key^T` and `weights @ value`, for every head of the query."""
    *batch, queries, width = call.shape("query")
    *_, keys, value_width = call.shape("value")
    return math.prod(batch) * queries * keys * (width + value_width)


def recurrent(call: Call) -> int:
    """Every weight matrix is applied to every element of the sequence; a direction has matrices of its own."""
    name = "data" if call.node.target._overloadname == "data" else "input"  # type: ignore[union-attr]
    steps = math.prod(call.shape(name)[:-1])
    shapes = call.shapes("params")
    return steps * sum(math.prod(shape) for shape in shapes if len(shape) == 2)


def recurrent_cell(call: Call) -> int:
    rows = math.prod(call.shape("input")[:-1])
    return rows * (call.elements("w_ih") + call.elements("w_hh"))


def pairwise_distances(call: Call) -> int:
    """`cdist`: every pair of rows."""
    return call.result_elements * call.shape("x1")[-1]


def fused_attention_layer(call: Call) -> int:
    """`_native_multi_head_attention`: three projections, attention, one projection."""
    batch, queries, width = call.shape("query")
    keys = call.shape("key")[1]
    projections = batch * width * width * (2 * queries + 2 * keys)
    return projections + 2 * batch * queries * keys * width


def fused_encoder_layer(call: Call) -> int:
    """`_transformer_encoder_layer_fwd`: attention over itself, then two linears."""
    batch, length, width = call.shape("src")
    hidden = call.shape("ffn_weight_1")[0]
    return batch * length * width * (4 * width + 2 * length + 2 * hidden)


_LAST_AXIS_OF_SELF = "matmul mm bmm mv dot vdot inner linalg_matmul _int_mm _scaled_mm _weight_int8pack_mm"
_ATTENTION = "attention attention_math flash_attention flash_attention_for_cpu efficient_attention cudnn_attention"

ATEN_RULES: dict[str, Rule] = {
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
