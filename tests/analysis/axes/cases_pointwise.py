"""Cases: what treats every position alike."""

from __future__ import annotations

from cases import case, family
from one_call import Call, Numbers, T, call

UNARY = [
    "clone", "contiguous", "alias", "detach", "lift_fresh_copy", "positive", "conj", "resolve_conj", "real",
    "hardswish", "hardtanh", "relu6", "mish", "selu", "celu", "elu", "leaky_relu", "log_sigmoid", "hardsigmoid",
    "hardshrink", "softshrink", "square", "special_expit", "softplus", "nan_to_num", "zeros_like", "to.dtype",
    "_to_copy", "relu", "sigmoid", "gelu", "exp", "cos", "tanh", "neg", "zero", "reciprocal",
]  # fmt: skip


def _unary(n: Numbers, option: str) -> Call:
    kwargs = {"dtype": 7} if option == "_to_copy" else {}
    rest = [7] if option == "to.dtype" else []
    return call(option, T(*n.several(3)), *rest, **kwargs, free="fff -> fff")


family("pointwise", UNARY, _unary)
RANDOM = [
    ("empty_like", []), ("rand_like", []), ("randn_like", []), ("alpha_dropout", [0.5, True]), ("bernoulli", []),
    ("feature_dropout", [0.5, True]), ("feature_alpha_dropout", [0.5, True]), ("dropout", [0.5, True]), ("rrelu", []),
]  # fmt: skip


def _random(n: Numbers, option: tuple[str, list[object]]) -> Call:
    fill = "uniform" if option[0] == "bernoulli" else "normal"
    args = [0.1, 0.3, True] if option[0] == "rrelu" else option[1]
    return call(option[0], T(*n.several(2), fill=fill), *args, random=True, free="ff -> ff")


family("random", RANDOM, _random)
STILL = [("dropout", [0.5, False]), ("alpha_dropout", [0.5, False]), ("rrelu", []), ("ones_like", [])]
family("still", STILL, lambda n, option: call(option[0], T(*n.several(2)), *option[1], free="ff -> ff"))


@case
def native_dropout(n: Numbers) -> Call:
    return call("native_dropout", T(*n.several(2)), 0.5, False, free="ff -> ff ff")


@case
def full_like(n: Numbers) -> Call:
    return call("full_like", T(*n.several(2)), 3.0, free="ff -> ff")


@case
def fill(n: Numbers) -> Call:
    return call("fill.Scalar", T(*n.several(2)), 3.0, free="ff -> ff")


@case
def threshold(n: Numbers) -> Call:
    return call("threshold", T(*n.several(2)), 0.1, 20.0, free="ff -> ff")


@case
def clamp(n: Numbers) -> Call:
    return call("clamp", T(*n.several(2)), 0.1, 2.0, free="ff -> ff")


@case
def imaginary(n: Numbers) -> Call:
    return call("imag", T(*n.several(2), fill="complex"), free="ff -> ff")


@case
def fake_quantize(n: Numbers) -> Call:
    return call("fake_quantize_per_tensor_affine", T(*n.several(2), fill="float32"), 0.1, 3, -8, 7, free="ff -> ff")


BINARY = [
    "add.Tensor",
    "mul.Tensor",
    "maximum",
    "where",
    "floor_divide",
    "true_divide.Tensor",
    "float_power.Tensor_Tensor",
    "pow",
]


def _binary(n: Numbers, option: str) -> Call:
    a, b, c = n.several(3)
    if option == "where":
        return call("where.self", T(a, 1, 1, fill="bool"), T(b, c), T(c), free="f11 ff f -> fff")
    name = "pow.Tensor_Tensor" if option == "pow" else option
    return call(name, T(a, 1, c, fill="positive"), T(b, c, fill="positive"), free="f1f ff -> fff")


family("broadcast", BINARY, _binary)


@case
def masked_fill(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("masked_fill.Scalar", T(a, b, c), T(b, 1, fill="bool"), 2.0, free="fff f1 -> fff")


@case
def logical_and(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("logical_and", T(a, b, fill="bool"), T(b, fill="bool"), free="ff f -> ff")


@case
def lerp(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("lerp.Tensor", T(a, b), T(a, b), T(b), free="ff ff f -> ff")


family("three", ["addcmul", "addcdiv"], lambda n, option: _three(n, option))


def _three(n: Numbers, option: str) -> Call:
    a, b = n.several(2)
    return call(option, T(b), T(a, 1), T(a, b, fill="positive"), free="f f1 ff -> ff")


family("rectified_by_channel", ["prelu", "_prelu_kernel"], lambda n, option: _prelu(n, option))


def _prelu(n: Numbers, option: str) -> Call:
    a, b, c = n.several(3)
    slope = T(b) if option == "prelu" else T(1, b, 1)
    return call(option, T(a, b, c), slope, free="fff f -> fff" if option == "prelu" else "fff 1f1 -> fff")


@case
def rectified_by_one(n: Numbers) -> Call:
    return call("prelu", T(*n.several(3)), T(1), free="fff 1 -> fff")


@case
def type_as(n: Numbers) -> Call:
    return call("type_as", T(*n.several(2)), T(*n.several(2)), free="ff ff -> ff")


@case
def expand_as(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("expand_as", T(b, 1), T(a, b, c), free="f1 fff -> fff")


@case
def meshgrid(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("meshgrid", [T(a), T(b)], free="f f -> ff ff")


@case
def meshgrid_turned(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("meshgrid.indexing", [T(a), T(b), T(c)], indexing="xy", free="f f f -> fff fff fff")


@case
def glu(n: Numbers) -> Call:
    a, b, c = n.several(3)
    return call("glu", T(a, 2 * b, c), 1, free="fff -> fff")


@case
def glu_of_the_last(n: Numbers) -> Call:
    a, b = n.several(2)
    return call("glu", T(a, 2 * b), free="ff -> ff")
