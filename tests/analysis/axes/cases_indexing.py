"""Cases: what looks positions up by number, and what makes tensors of sizes."""

from __future__ import annotations

from cases import case, family
from one_call import Call, Numbers, T, call


@case
def embedding(n: Numbers) -> Call:
    v, d, a, b = n.several(4)
    return call("embedding", T(v, d), T(a, b, below=v), free="pf ff -> fff")


@case
def index_rows(n: Numbers) -> Call:
    a, b, i = n.several(3)
    return call("index.Tensor", T(a, b), [T(i, below=a)], free="pf f -> ff")


@case
def index_side_by_side(n: Numbers) -> Call:
    a, b, c, d, i, j = n.several(6)
    rows = [None, T(i, 1, below=b), T(j, below=c)]
    return call("index.Tensor", T(a, b, c, d), rows, free="fppf f1 f -> ffff")


@case
def index_apart(n: Numbers) -> Call:
    a, b, c, i, j = n.several(5)
    rows = [T(i, 1, below=a), None, T(j, below=c)]
    return call("index.Tensor", T(a, b, c), rows, free="pfp f1 f -> fff")


@case
def index_by_mask(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("index.Tensor", T(a, b), [T(a, fill="true")], free="pp p -> pp")


@case
def unsafe_index(n: Numbers) -> Call:
    a, b, i = n.several(3)
    return call("_unsafe_index.Tensor", T(a, b), [None, T(i, below=b)], free="fp f -> ff")


@case
def index_select(n: Numbers) -> Call:
    a, b, i = n.several(3)
    return call("index_select", T(a, b), 1, T(i, below=b), free="ff p -> ff")


@case
def index_select_one(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("index_select", T(a, b), -1, T(1, below=b), free="fp 1 -> f1")


@case
def gather(n: Numbers) -> Call:
    a, b, i = n.several(3)
    return call("gather", T(a, b), 1, T(a, i, below=b), free="fp ff -> ff")


@case
def gather_fewer_rows(n: Numbers) -> Call:
    a, b, i = n.several(3)
    return call("gather", T(a + 1, b), 1, T(a, i, below=b), free="pp pf -> pf")


@case
def take_along_dim(n: Numbers) -> Call:
    a, b, i = n.several(3)
    return call("take_along_dim", T(a, b), T(a, i, below=b), 1, free="fp ff -> ff")


@case
def take_along_dim_broadcast(n: Numbers) -> Call:
    a, b, i = n.several(3)
    return call("take_along_dim", T(a, b), T(1, i, below=b), 1, free="fp 1f -> ff")


def _writing(n: Numbers, option: str) -> Call:
    a, b = n.several(2)
    rows, source = T(2, below=a), T(2, b)
    args = {
        "scatter.src": (T(a, b), 0, T(2, b, below=a), source),
        "scatter_add": (T(a, b), 0, T(2, b, below=a), source),
        "scatter_reduce.two": (T(a, b), 0, T(2, b, below=a), source, "sum"),
        "index_put": (T(a, b), [rows], source),
        "_unsafe_index_put": (T(a, b), [rows], source),
        "_index_put_impl": (T(a, b), [rows], source),
        "index_add": (T(a, b), 0, rows, source),
        "index_copy": (T(a, b), 0, T(1, below=a), T(1, b)),
        "index_fill.int_Scalar": (T(a, b), 0, rows, 1.0),
        "index_reduce": (T(a, b), 0, rows, source, "mean"),
        "masked_scatter": (T(a, b), T(a, b, fill="bool"), T(a, b)),
    }[option]
    words = {"index_copy": "pf 1 1f -> pf", "index_fill.int_Scalar": "pp p -> pp", "masked_scatter": "pp pp pp -> pp"}
    places = "pp" if option.startswith("scatter") else "p"
    if option in ("index_put", "_unsafe_index_put", "_index_put_impl", "index_add"):
        return call(option, *args, free="pf p pf -> pf")
    return call(option, *args, free=words.get(option, f"pp {places} pp -> pp"))


WRITERS = [
    "scatter.src", "scatter_add", "scatter_reduce.two", "index_put", "_unsafe_index_put", "_index_put_impl",
    "index_add", "index_copy", "index_fill.int_Scalar", "index_reduce", "masked_scatter",
]  # fmt: skip
family("writing", WRITERS, _writing)


@case
def one_hot(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("one_hot", T(a, b, below=4), 6, free="ff -> ffp")


def _numbered(n: Numbers, option: str) -> Call:
    a = n(3, 6)
    kind = {"dtype": None}
    args = {
        "arange": (a,), "linspace": (0.0, 1.0, a), "logspace": (0.0, 1.0, a), "eye": (a,), "randperm": (a,),
        "tril_indices": (a, a), "triu_indices": (a, a),
    }[option]  # fmt: skip
    word = "pp" if option in ("eye", "tril_indices", "triu_indices") else "p"
    return call(option, *args, free=f"-> {word}", random=True, **kind)


family("numbered", ["arange", "linspace", "logspace", "eye", "randperm", "tril_indices", "triu_indices"], _numbered)


def _filled(n: Numbers, option: tuple[str, list[object], bool]) -> Call:
    a, b = n.several(2)
    rest = option[1]
    if option[0].startswith("new_"):
        size = [[a, b], [b, 1]] if "strided" in option[0] else [[a, b]]
        return call(option[0], T(2, 3), *size, *rest, free="ff -> ff", random=option[2])
    if "strided" in option[0]:
        return call(option[0], [a, b], [b, 1], free="-> ff", random=True)
    return call(option[0], [a, b], *rest, free="-> ff", random=option[2])


FACTORIES = [
    ("zeros", [], False), ("ones", [], False), ("full", [2.0], False), ("empty.memory_format", [], True),
    ("rand", [], True), ("randn", [], True), ("new_zeros", [], False), ("new_ones", [], False),
    ("new_full", [2.0], False), ("new_empty", [], True),
]  # fmt: skip
family("filled", FACTORIES, _filled)


@case
def scalar_tensor(n: Numbers) -> Call:
    return call("scalar_tensor", float(n()), free="-> .")
