"""Cases: what multiplies and adds up."""

from __future__ import annotations

from cases import case, family
from one_call import Call, Numbers, T, call


@case
def linear(n: Numbers) -> Call:
    b, i, o = n.several(3)
    return call("linear", T(b, i), T(o, i), T(o), free="ff ff f -> ff")


@case
def linear_without_bias(n: Numbers) -> Call:
    b, t, i, o = n.several(4)
    return call("linear", T(b, t, i), T(o, i), free="fff ff -> fff")


@case
def linear_vector(n: Numbers) -> Call:
    b, i = n.several(2)
    return call("linear", T(b, i), T(i), free="ff f -> f")


@case
def matmul(n: Numbers) -> Call:
    a, b, i, j, k = n.several(5)
    return call("matmul", T(a, b, i, j), T(a, b, j, k), free="ffff ffff -> ffff")


@case
def matmul_broadcast(n: Numbers) -> Call:
    a, b, i, j, k = n.several(5)
    return call("matmul", T(a, 1, i, j), T(b, j, k), free="f1ff fff -> ffff")


@case
def matmul_matrix_by_vector(n: Numbers) -> Call:
    b, i, j = n.several(3)
    return call("matmul", T(b, i, j), T(j), free="fff f -> ff")


@case
def matmul_vector_by_matrix(n: Numbers) -> Call:
    b, i, j = n.several(3)
    return call("matmul", T(i), T(b, i, j), free="f fff -> ff")


@case
def mm(n: Numbers) -> Call:
    i, j, k = n.several(3)
    return call("mm", T(i, j), T(j, k), free="ff ff -> ff")


@case
def bmm(n: Numbers) -> Call:
    b, i, j, k = n.several(4)
    return call("bmm", T(b, i, j), T(b, j, k), free="fff fff -> fff")


@case
def mv(n: Numbers) -> Call:
    i, j = n.several(2)
    return call("mv", T(i, j), T(j), free="ff f -> f")


@case
def dot(n: Numbers) -> Call:
    i = n()
    return call("dot", T(i), T(i), free="f f -> .")


@case
def addmm(n: Numbers) -> Call:
    i, j, k = n.several(3)
    return call("addmm", T(k), T(i, j), T(j, k), free="f ff ff -> ff")


@case
def baddbmm(n: Numbers) -> Call:
    b, i, j, k = n.several(4)
    return call("baddbmm", T(b, 1, k), T(b, i, j), T(b, j, k), free="f1f fff fff -> fff")


@case
def addbmm(n: Numbers) -> Call:
    b, i, j, k = n.several(4)
    return call("addbmm", T(i, k), T(b, i, j), T(b, j, k), free="ff fff fff -> ff")


@case
def addmv(n: Numbers) -> Call:
    i, j = n.several(2)
    return call("addmv", T(i), T(i, j), T(j), free="f ff f -> f")


@case
def einsum(n: Numbers) -> Call:
    b, h, i, j, d = n.several(5)
    return call("einsum", "b h i d, b h j d -> b h i j", [T(b, h, i, d), T(b, h, j, d)], free="ffff ffff -> ffff")


@case
def einsum_sum_and_broadcast(n: Numbers) -> Call:
    b, i, j = n.several(3)
    return call("einsum", "bi,ij->j", [T(b, i), T(i, j)], free="ff ff -> f")


@case
def einsum_three(n: Numbers) -> Call:
    i, j, k = n.several(3)
    return call("einsum", "ij,jk,jk->i", [T(i, j), T(j, k), T(j, k)], free="ff ff ff -> f")


@case
def einsum_size_one(n: Numbers) -> Call:
    i, j, k = n.several(3)
    return call("einsum", "ij,jk->ik", [T(i, 1), T(j, k)], free="f1 ff -> ff")


@case
def einsum_diagonal(n: Numbers) -> Call:
    i, j = n.several(2)
    return call("einsum", "ii,ij->j", [T(i, i), T(i, j)], free="pp pp -> p")


@case
def attention(n: Numbers) -> Call:
    b, h, q, k, d, v = n.several(6)
    return call(
        "scaled_dot_product_attention", T(b, h, q, d), T(b, h, k, d), T(b, h, k, v), free="ffff ffpf ffpf -> ffff"
    )


@case
def attention_three_axes(n: Numbers) -> Call:
    b, q, k, d = n.several(4)
    return call("scaled_dot_product_attention", T(b, q, d), T(b, k, d), T(b, k, d), free="fff fpf fpf -> fff")


@case
def attention_broadcast(n: Numbers) -> Call:
    b, h, q, k, d = n.several(5)
    return call(
        "scaled_dot_product_attention", T(b, h, q, d), T(1, h, k, d), T(1, h, k, d), free="ffff 1fpf 1fpf -> ffff"
    )


@case
def attention_masked(n: Numbers) -> Call:
    b, h, q, k, d = n.several(5)
    shapes = T(b, h, q, d), T(b, h, k, d), T(b, h, k, d), T(h, q, k)
    return call("scaled_dot_product_attention", *shapes, free="ffff ffpf ffpf ffp -> ffff")


@case
def attention_causal(n: Numbers) -> Call:
    b, h, q, d = n.several(4)
    shapes = T(b, h, q, d), T(b, h, q, d), T(b, h, q, d)
    return call("scaled_dot_product_attention", *shapes, is_causal=True, free="ffpf ffpf ffpf -> ffpf")


@case
def attention_grouped(n: Numbers) -> Call:
    b, h, r, q, k, d = n.several(6)
    shapes = T(b, h * r, q, d), T(b, h, k, d), T(b, h, k, d)
    return call("scaled_dot_product_attention", *shapes, enable_gqa=True, free="ffff ffpf ffpf -> ffff")


@case
def attention_multi_query(n: Numbers) -> Call:
    b, h, q, k, d = n.several(5)
    shapes = T(b, h, q, d), T(b, 1, k, d), T(b, 1, k, d)
    return call("scaled_dot_product_attention", *shapes, enable_gqa=True, free="ffff f1pf f1pf -> ffff")


def _convolution(n: Numbers, rank: int) -> Call:
    b, i, o = n.several(3)
    free = "p" * rank
    return call(
        f"conv{rank}d",
        T(b, i, *[4] * rank),
        T(o, i, *[3] * rank),
        T(o),
        [1] * rank,
        [1] * rank,
        free=f"ff{free} ff{free} f -> ff{free}",
    )


family("conv", [("1d", 1), ("2d", 2), ("3d", 3)], lambda n, option: _convolution(n, option[1]))


@case
def conv_grouped(n: Numbers) -> Call:
    b, g, i, o = n.several(4)
    sizes = T(b, g * i, 4, 3), T(g * o, i, 3, 2), T(g * o)
    return call("conv2d", *sizes, [1, 1], [1, 1], [1, 1], g, free="ffpp ffpp f -> ffpp")


@case
def conv_depthwise(n: Numbers) -> Call:
    b, g = n.several(2)
    sizes = T(b, g, 4, 3), T(g, 1, 3, 2), T(g)
    return call("conv2d", *sizes, [1, 1], [1, 1], [1, 1], g, free="ffpp f1pp f -> ffpp")


@case
def conv_depthwise_multiplied(n: Numbers) -> Call:
    b, g, m = n.several(3)
    sizes = T(b, g, 5), T(g * m, 1, 3)
    return call("conv1d", *sizes, None, [1], [0], [1], g, free="ffp f1p -> ffp")


@case
def conv_groups_of_one_output(n: Numbers) -> Call:
    b, g, i = n.several(3)
    sizes = T(b, g * i, 5), T(g, i, 3)
    return call("conv1d", *sizes, None, [1], [0], [1], g, free="ffp ffp -> ffp")


@case
def conv_without_batch(n: Numbers) -> Call:
    i, o = n.several(2)
    return call("conv2d", T(i, 4, 4), T(o, i, 2, 2), T(o), free="fpp ffpp f -> fpp")


@case
def conv_one_channel(n: Numbers) -> Call:
    b, o = n.several(2)
    return call("conv2d", T(b, 1, 4, 4), T(o, 1, 2, 2), T(o), free="f1pp f1pp f -> ffpp")


def _transposed(n: Numbers, rank: int) -> Call:
    b, i, o = n.several(3)
    free = "p" * rank
    shapes = T(b, i, *[3] * rank), T(i, o, *[2] * rank), T(o)
    return call(f"conv_transpose{rank}d.{_overload(rank)}", *shapes, free=f"ff{free} ff{free} f -> ff{free}")


def _overload(rank: int) -> str:
    return "default" if rank == 1 else "input"


family("conv_transpose", [("1d", 1), ("2d", 2), ("3d", 3)], lambda n, option: _transposed(n, option[1]))


@case
def conv_transpose_grouped(n: Numbers) -> Call:
    b, g, i, o = n.several(4)
    shapes = T(b, g * i, 3, 3), T(g * i, o, 2, 2), T(g * o)
    return call("conv_transpose2d.input", *shapes, [1, 1], [0, 0], [0, 0], g, free="ffpp ffpp f -> ffpp")


@case
def conv_transpose_depthwise(n: Numbers) -> Call:
    b, g = n.several(2)
    shapes = T(b, g, 4), T(g, 1, 2)
    return call("conv_transpose1d", *shapes, None, [1], [0], [0], g, free="ffp f1p -> ffp")


@case
def recurrent_input(n: Numbers) -> Call:
    b, t, i, h = n.several(4)
    params = [T(4 * h, i), T(4 * h, h), T(4 * h), T(4 * h)]
    state = [T(1, b, h), T(1, b, h)]
    return call(
        "lstm.input", T(b, t, i), state, params, True, 1, 0.0, False, False, True,
        free="ppf 1pp 1pp pf pp p p -> ppp 1pp 1pp",
    )  # fmt: skip


@case
def recurrent_two_layers_both_ways(n: Numbers) -> Call:
    b, t, i, h = n.several(4)
    layer = [T(3 * h, i), T(3 * h, h), T(3 * h), T(3 * h)]
    second = [T(3 * h, 2 * h), T(3 * h, h), T(3 * h), T(3 * h)]
    params = [*layer, *layer, *second, *second]
    words = ["ppf ppp"[:3], "ppp"]  # the input and the state
    weights = ["pf", "pp", "p", "p"] * 2 + ["pp", "pp", "p", "p"] * 2
    return call(
        "gru.input", T(t, b, i), T(4, b, h), params, True, 2, 0.0, False, True, False,
        free=" ".join([*words, *weights, "->", "ppp", "ppp"]),
    )  # fmt: skip


@case
def recurrent_without_biases(n: Numbers) -> Call:
    b, t, i, h = n.several(4)
    params = [T(h, i), T(h, h), T(h, i), T(h, h)]
    return call(
        "rnn_tanh.input", T(b, t, i), T(2, b, h), params, False, 1, 0.0, False, True, True,
        free="ppf ppp pf pp pf pp -> ppp ppp",
    )  # fmt: skip


@case
def recurrent_rectified(n: Numbers) -> Call:
    b, t, i, h = n.several(4)
    params = [T(h, i), T(h, h), T(h), T(h)]
    return call(
        "rnn_relu.input", T(b, t, i), T(1, b, h), params, True, 1, 0.0, False, False, True,
        free="ppf 1pp pf pp p p -> ppp 1pp",
    )  # fmt: skip
