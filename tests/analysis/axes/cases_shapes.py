"""Cases: views, permutations, repetition, and what depends on the order of positions."""

from __future__ import annotations

from cases import case, family
from one_call import Call, Numbers, T, call


@case
def view_merge(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("view", T(a, b, c), [a, b * c], free="fff -> ff")


@case
def view_split(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("view", T(a, b * c), [a, b, c], free="ff -> fff")


@case
def view_regroup(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("reshape", T(a * b, c), [a, b * c], free="ff -> ff")


@case
def view_open(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("view", T(a, b, c), [-1, c], free="fff -> ff")


@case
def view_without_common_factors(n: Numbers) -> Call:
    k = n()
    return call("view", T(k, 4, 6), [k, 6, 4], free="fpp -> fpp")


def _view(n: Numbers, option: str) -> Call:
    a, b, c = n.several(3)
    return call(option, T(a, b * c), [a, b, c], free="ff -> fff")


family("view", ["view", "reshape", "_unsafe_view", "view_copy"], _view)


@case
def view_as(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("view_as", T(a, b * c), T(a, b, c), free="ff fff -> fff")


@case
def reshape_as(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("reshape_as", T(a, b, c), T(a * b, c), free="fff ff -> ff")


@case
def flatten(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("flatten.using_ints", T(a, b, c), 1, free="fff -> ff")


@case
def unflatten(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("unflatten.int", T(a, b * c), 1, [b, c], free="ff -> fff")


@case
def squeeze(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("squeeze.dim", T(a, 1, b), 1, free="f1f -> ff")


@case
def squeeze_copy(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("squeeze_copy.dim", T(a, 1, b), 1, free="f1f -> ff")


@case
def unsqueeze(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("unsqueeze", T(a, b), 1, free="ff -> f1f")


@case
def unsqueeze_copy(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("unsqueeze_copy", T(a, b), -1, free="ff -> ff1")


family("atleast", ["atleast_1d", "atleast_2d"], lambda n, option: call(option, T(n()), free="f -> " + _rank(option)))


def _rank(name: str) -> str:
    return "f" if name == "atleast_1d" else "1f"


@case
def permute(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("permute", T(a, b, c), [2, 0, -2], free="fff -> fff")


TRANSPOSES = ["transpose.int", "swapaxes", "swapdims"]
family("transposed", TRANSPOSES, lambda n, option: call(option, T(n(), n(), n()), 0, -1, free="fff -> fff"))
family("transposed_matrix", ["t", "numpy_T"], lambda n, option: call(option, T(n(), n()), free="ff -> ff"))
family("transposed_matrices", ["mT", "matrix_H", "adjoint"], lambda n, option: _matrices(n, option))


def _matrices(n: Numbers, option: str) -> Call:
    if option == "matrix_H":
        return call(option, T(n(), n()), free="ff -> ff")
    return call(option, T(n(), n(), n()), free="fff -> fff")


@case
def numpy_t_of_three(n: Numbers) -> Call:
    return call("numpy_T", T(n(), n()), free="ff -> ff")


family("movedim", ["movedim.intlist", "moveaxis.intlist"], lambda n, option: _movedim(n, option))


def _movedim(n: Numbers, option: str) -> Call:
    a, b, c, d = n.several(4)
    return call(option, T(a, b, c, d), [0, 1], [-1, 0], free="ffff -> ffff")


@case
def movedim_one(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("movedim.int", T(a, b, c), 0, 2, free="fff -> fff")


@case
def expand(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("expand", T(1, b, 1), [a, b, c], free="1f1 -> fff")


@case
def expand_new_axis(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("expand", T(b, 1), [a, -1, c], free="f1 -> fff")


@case
def broadcast_to(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("broadcast_to", T(b), [a, b], free="f -> ff")


@case
def repeat(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("repeat", T(b, c), [a, 2, 1], free="ff -> fmf")


@case
def repeat_one_position(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("repeat", T(1, c), [a, b, 1], free="1f -> fff")


@case
def tile(n: Numbers) -> Call:
    b, c = n.several(2)
    return call("tile", T(b, c), [3, 1], free="ff -> mf")


@case
def tile_fewer_numbers(n: Numbers) -> Call:
    b, c = n.several(2)
    return call("tile", T(b, c), [2], free="ff -> fm")


@case
def repeat_interleave(n: Numbers) -> Call:
    a, b, r = n.several(3)
    return call("repeat_interleave.self_int", T(a, b), r, 1, free="ff -> ff")


@case
def repeat_interleave_one_position(n: Numbers) -> Call:
    a, r = n.several(2)
    return call("repeat_interleave.self_int", T(a, 1), r, 1, free="f1 -> ff")


@case
def repeat_interleave_flat(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("repeat_interleave.self_int", T(a, b), 2, free="pp -> p")
