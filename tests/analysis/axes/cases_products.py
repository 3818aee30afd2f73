"""Cases: what multiplies and adds up."""

from __future__ import annotations

from cases import case
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
