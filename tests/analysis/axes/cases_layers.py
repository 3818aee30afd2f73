"""Cases: convolutions and recurrent layers."""

from __future__ import annotations

from cases import case, family
from one_call import Call, Numbers, T, call


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
