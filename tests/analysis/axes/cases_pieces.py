"""Cases: axes one behind the other, and pieces of them."""

from __future__ import annotations

from cases import case, family
from one_call import Call, Numbers, T, call

family("cat", ["cat", "concat", "concatenate"], lambda n, option: _cat(n, option))


def _cat(n: Numbers, option: str) -> Call:
    a, b, c, d = n.several(4)
    return call(option, [T(a, b), T(a, c), T(a, d)], -1, free="ff ff ff -> ff")


@case
def cat_with_one_position(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("cat", [T(b, a), T(1, a), T(c, a)], 0, free="ff 1f ff -> mf")


STACKS = [("hstack", 2), ("vstack", 2), ("dstack", 3), ("column_stack", 2)]


def _stacked(n: Numbers, option: tuple[str, int]) -> Call:
    sizes = n.several(option[1])
    word = "p" * option[1]
    return call(option[0], [T(*sizes), T(*sizes)], free=f"{word} {word} -> {word}")


family("stacked", STACKS, _stacked)


@case
def stack(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("stack", [T(a, b), T(a, b), T(a, b)], -2, free="ff ff ff -> fpf")


PIECES = [
    ("split_with_sizes", [[2, 3, 4], 1]), ("split.Tensor", [4, 1]), ("split.sizes", [[2, 3, 4], -1]),
    ("chunk", [3, 1]), ("unsafe_split.Tensor", [3, 1]),
    ("unsafe_chunk", [3, 1]), ("tensor_split.sections", [3, 1]), ("tensor_split.indices", [[2, 5], 1]),
]  # fmt: skip


def _pieces(n: Numbers, option: tuple[str, list[object]]) -> Call:
    # Four and four and one: the last is a position of its own.
    alone = option[0] == "split.Tensor"
    words = ["fm", "->", "ff", "ff", "f1"] if alone else ["ff", "->", "ff", "ff", "ff"]
    return call(option[0], T(n(), 9), *option[1], free=" ".join(words))


family("pieces", PIECES, _pieces)


@case
def chunk_evenly(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("chunk", T(a, 2 * b), 2, 1, free="ff -> ff ff")


@case
def unbind(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("unbind.int", T(a, 3, b), 1, free="fpf -> ff ff ff")


@case
def select(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("select.int", T(a, b, c), 1, n.choice([0, -1]), free="fpf -> ff")


@case
def select_of_the_middle(n: Numbers) -> Call:
    a, c = n.several(2)
    return call("select.int", T(a, 6, c), 1, 2, free="fpf -> ff")


SLICES = [
    ("first", [0, 3], "fm -> ff"), ("middle", [2, 4], "fm -> ff"), ("last", [-3, 9999], "fm -> ff"),
    ("until", [1, -2], "fm -> ff"), ("all", [0, 9999], "ff -> ff"), ("one", [2, 3], "fp -> f1"),
    ("all_but_one", [1, 9999], "fm -> ff"),
]  # fmt: skip
family("slice", SLICES, lambda n, option: call("slice.Tensor", T(n(), 7), 1, *option[1], free=option[2]))


@case
def slice_open(n: Numbers) -> Call:
    return call("slice.Tensor", T(n(), 7), -1, 3, None, free="fm -> ff")


@case
def slice_copy(n: Numbers) -> Call:
    return call("slice_copy.Tensor", T(n(), 7), 1, 3, None, free="fm -> ff")


@case
def slice_strided(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("slice.Tensor", T(a, 2 * b), 1, n(0, 1), 9999, 2, free="fm -> ff")


@case
def slice_strided_unevenly(n: Numbers) -> Call:
    return call("slice.Tensor", T(n(), 7), 1, 0, 9999, 2, free="fp -> fp")


@case
def slice_strided_to_the_middle(n: Numbers) -> Call:
    return call("slice.Tensor", T(n(), 8), 1, 0, 4, 2, free="fp -> fp")


@case
def narrow(n: Numbers) -> Call:
    return call("narrow", T(n(), 7), 1, 2, 3, free="fm -> ff")


@case
def narrow_from_the_end(n: Numbers) -> Call:
    return call("narrow", T(n(), 7), -1, -3, 3, free="fm -> ff")


@case
def slice_scatter(n: Numbers) -> Call:
    a = n()
    return call("slice_scatter", T(a, 7), T(a, 3), 1, 2, 5, free="ff ff -> ff")


@case
def select_scatter(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("select_scatter", T(a, b, c), T(a, c), 1, 0, free="fpf ff -> fpf")


@case
def constant_pad(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("constant_pad_nd", T(a, b, c), [2, 3, 1, 0], 0.0, free="fff -> fmf")


@case
def constant_pad_with_ones(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("constant_pad_nd", T(a, b), [2, 3], 1.0, free="ff -> ff")


@case
def constant_pad_of_one_position(n: Numbers) -> Call:
    a = n()
    return call("constant_pad_nd", T(a, 1), [2, 3], 0.0, free="f1 -> fp")


@case
def cropped(n: Numbers) -> Call:
    a = n()
    return call("constant_pad_nd", T(a, 6), [-2, 0], 0.0, free="fp -> fp")


@case
def pad(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("pad", T(a, b), [0, 2], free="ff -> ff")


@case
def pad_reflecting(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("pad", T(a, b, 4), [1, 1], "reflect", free="ffp -> ffp")
