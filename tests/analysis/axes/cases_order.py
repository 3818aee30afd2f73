"""Cases: what moves positions along an axis, or depends on their order."""

from __future__ import annotations

from cases import case, family
from one_call import Call, Numbers, T, call

MOVERS = [
    ("roll", [[1], [1]], "fp -> fp"), ("flip", [[1]], "fp -> fp"), ("rot90", [1, [0, 1]], "pp -> pp"),
    ("triu", [], "pp -> pp"), ("tril", [1], "pp -> pp"),
]  # fmt: skip
family("moved", MOVERS, lambda n, option: call(option[0], T(n(), n()), *option[1], free=option[2]))


@case
def roll_flat(n: Numbers) -> Call:
    return call("roll", T(n(), n()), [1], free="pp -> pp")


@case
def rot90_of_three(n: Numbers) -> Call:
    return call("rot90", T(n(), n(), n()), 1, [0, 2], free="pfp -> pfp")


ORDERED = [
    ("diff", []), ("cumsum", [1]), ("cumprod", [1]), ("logcumsumexp", [1]), ("cummax", [1]), ("cummin", [1]),
    ("sort", [1]), ("argsort", [1]), ("kthvalue", [1, 1, True]),
]  # fmt: skip


def _ordered(n: Numbers, option: tuple[str, list[int]]) -> Call:
    name, rest = option
    last = "f1" if name == "kthvalue" or name == "diff" else "fp"
    count = 2 if name in ("cummax", "cummin", "sort", "kthvalue") else 1
    size = 2 if name == "diff" else n()
    return call(name, T(n(), size), *rest, free=" ".join(["fp ->", *[last] * count]))


family("ordered", ORDERED, _ordered)


@case
def topk(n: Numbers) -> Call:
    return call("topk", T(n(), 5), 3, 1, free="fp -> fp fp")


@case
def kthvalue_without_axis(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("kthvalue", T(a, b, c), 1, 1, free="fpf -> ff ff")


@case
def cumsum_first(n: Numbers) -> Call:
    return call("cumsum", T(n(), n()), 0, free="pf -> pf")


@case
def unfold(n: Numbers) -> Call:
    return call("unfold", T(n(), 6, n()), 1, 3, 1, free="fpf -> fpfp")


@case
def diagonal(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("diagonal", T(a, b, b), 0, 1, 2, free="ppp -> pp")
