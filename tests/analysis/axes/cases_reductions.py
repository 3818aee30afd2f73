"""Cases: what makes one value of an axis, and the norm layers."""

from __future__ import annotations

from cases import case, family
from one_call import Call, Numbers, T, call

SUMS = ["sum.dim_IntList", "nansum", "mean.dim", "nanmean", "count_nonzero.dim_IntList"]
family("over_one", SUMS, lambda n, option: call(option, T(*n.several(3)), [1], free="fff -> ff"))
KEEPING = [option for option in SUMS if "count" not in option]
family("over_one_kept", KEEPING, lambda n, option: call(option, T(*n.several(3)), [-1], True, free="fff -> ff1"))
WHOLE = ["sum", "nansum", "mean", "nanmean", "count_nonzero"]
family("over_all", WHOLE, lambda n, option: call(option, T(*n.several(2)), free="ff -> ."))
family("over_two", SUMS, lambda n, option: call(option, T(*n.several(3)), [0, 2], free="fff -> f"))
NORMS = [("linalg_vector_norm", [2, [1]]), ("norm.ScalarOpt_dim", [2, [1]])]
family("norm", NORMS, lambda n, option: call(option[0], T(*n.several(3)), *option[1], free="fff -> ff"))
ORDERS = [("one", 1, "f"), ("three", 3, "f"), ("infinite", float("inf"), "p"), ("none", 0, "p"), ("negative", -1, "p")]


def _order(n: Numbers, option: tuple[str, float, str]) -> Call:
    return call("linalg_vector_norm", T(*n.several(2)), option[1], [1], free=f"f{option[2]} -> f")


family("norm_order", ORDERS, _order)
SPREADS = [("var.correction", 1), ("std.correction", 1), ("var_mean.correction", 2), ("std_mean.correction", 2)]


def _spread(n: Numbers, option: tuple[str, int]) -> Call:
    free = " ".join(["fff ->", *["ff"] * option[1]])
    return call(option[0], T(*n.several(3)), [1], correction=0, free=free)


family("spread", SPREADS, _spread)
LARGEST = [
    ("amax", [[1]], 1), ("amin", [[1]], 1), ("max.dim", [1], 2), ("min.dim", [1], 2), ("any.dim", [1], 1),
    ("all.dim", [1], 1), ("prod.dim_int", [1], 1), ("median.dim", [1], 2), ("nanmedian.dim", [1], 2),
    ("mode", [1], 2), ("argmax", [1], 1), ("argmin", [1], 1), ("logsumexp", [[1]], 1),
]  # fmt: skip


def _largest(n: Numbers, option: tuple[str, list[object], int]) -> Call:
    fill = "bool" if option[0] in ("any.dim", "all.dim") else "normal"
    return call(option[0], T(*n.several(3), fill=fill), *option[1], free=" ".join(["fpf ->", *["ff"] * option[2]]))


family("one_of", LARGEST, _largest)


@case
def one_of_last_by_default(n: Numbers) -> Call:
    return call("mode", T(*n.several(3)), free="ffp -> ff ff")


@case
def least_and_largest(n: Numbers) -> Call:
    return call("aminmax", T(*n.several(2)), dim=1, free="fp -> f f")


@case
def largest_of_all(n: Numbers) -> Call:
    return call("max", T(*n.several(2)), free="pp -> .")


@case
def larger_of_two(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("max.other", T(a, b), T(b), free="ff f -> ff")


SOFTMAXES = ["softmax.int", "log_softmax.int", "_softmax", "_log_softmax", "_safe_softmax"]


def _softmax(n: Numbers, option: str) -> Call:
    rest = [False] if option in ("_softmax", "_log_softmax") else []
    return call(option, T(*n.several(3)), 1, *rest, free="fpf -> fpf")


family("softmax", SOFTMAXES, _softmax)


@case
def softmax_of_the_last(n: Numbers) -> Call:
    return call("softmax.int", T(*n.several(3)), -1, free="ffp -> ffp")


@case
def layer_norm(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("layer_norm", T(a, b, c), [b, c], T(b, c), T(b, c), free="fff ff ff -> fff")


@case
def layer_norm_without_affine(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("layer_norm", T(a, b), [b], free="ff -> ff")


@case
def rms_norm(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("rms_norm", T(a, b), [b], T(b), 1e-3, free="ff f -> ff")


@case
def rms_norm_of_two_axes(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("rms_norm", T(a, b, c), [b, c], free="fff -> fff")


@case
def group_norm(n: Numbers) -> Call:
    a, g, c, s = n.several(4)
    return call("group_norm", T(a, g * c, s), g, T(g * c), T(g * c), free="fff f f -> fff")


@case
def group_norm_one_group(n: Numbers) -> Call:
    a, c, s = n.several(3)
    return call("group_norm", T(a, c, s), 1, T(c), T(c), free="fff f f -> fff")


@case
def group_norm_of_channels(n: Numbers) -> Call:
    a, c, s = n.several(3)
    return call("group_norm", T(a, c, s), c, free="fff -> fff")


@case
def batch_norm(n: Numbers) -> Call:
    a, c, s = n.several(3)
    stored = T(c), T(c), T(c), T(c, fill="positive")
    return call("batch_norm", T(a, c, s), *stored, False, 0.1, 1e-5, False, free="fff f f f f -> fff")


@case
def batch_norm_without_affine(n: Numbers) -> Call:
    a, c = n.several(2)
    stored = None, None, T(c), T(c, fill="positive")
    return call("batch_norm", T(a, c), *stored, False, 0.1, 1e-5, False, free="ff f f -> ff")


@case
def batch_norm_that_measures(n: Numbers) -> Call:
    a, c, s = n.several(3)
    return call("batch_norm", T(a, c, s), T(c), T(c), None, None, True, 0.1, 1e-5, False, free="fff f f -> fff")


@case
def instance_norm(n: Numbers) -> Call:
    a, c, s = n.several(3)
    return call("instance_norm", T(a, c, s), T(c), T(c), None, None, True, 0.1, 1e-5, False, free="fff f f -> fff")


@case
def native_batch_norm(n: Numbers) -> Call:
    a, c, s = n.several(3)
    stored = T(c), T(c), T(c), T(c, fill="positive")
    return call("native_batch_norm", T(a, c, s), *stored, False, 0.1, 1e-5, free="fff f f f f -> fff 1 1")


@case
def native_batch_norm_legit(n: Numbers) -> Call:
    a, c, s = n.several(3)
    stored = T(c), T(c), T(c), T(c, fill="positive")
    return call("_native_batch_norm_legit_no_training", T(a, c, s), *stored, 0.1, 1e-5, free="fff f f f f -> fff 1 1")


@case
def weight_norm(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("_weight_norm", T(a, b, c), T(a, 1, 1), free="fff f11 -> fff")


@case
def cosine_similarity(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("cosine_similarity", T(a, b), T(a, b), free="pp pp -> p")
