"""The ways in which integer products can be calculated on a CPU, and which of them there are here.

| name      | what it calls                             | what it is best at                         |
|-----------|-------------------------------------------|--------------------------------------------|
| `native`  | C++ of ours, compiled at its first use    | all that stands behind a product, in one   |
| `onednn`  | `onednn.qlinear_pointwise`, `qconv`       | many rows; activation functions behind     |
| `fbgemm`  | `quantized.linear_dynamic`                | one row (deprecated by torch)              |
| `int_mm`  | `torch._int_mm`                           | few rows; nothing is packed                |
| `float`   | plain ATen calls in float32               | works everywhere, and is the last to serve |

The environment variable `FXCOMPRESS_WITHOUT` names those that must not be used, with commas between.
"""

from __future__ import annotations

import functools
import os

import torch

from fxcompress.errors import UsageError
from fxcompress.kernels.native import operators
from fxcompress.kernels.native.build import library
from fxcompress.text import suggestion

BACKENDS = ("native", "onednn", "fbgemm", "int_mm", "float")
VARIABLE = "FXCOMPRESS_WITHOUT"
_OPERATORS = {
    "native": (),
    "onednn": ("onednn.qlinear_prepack", "onednn.qlinear_pointwise", "onednn.qconv_prepack", "onednn.qconv_pointwise"),
    "fbgemm": ("quantized.linear_prepack", "quantized.linear_dynamic"),
    "int_mm": ("aten._int_mm",),
    "float": (),
}
_EXACT_WITH_VNNI = ("onednn", "fbgemm")


def available(name: str) -> bool:
    """Whether this torch and this machine have the backend, and it is not switched off."""
    there = name not in switched_off() and installed(name)
    if there and name == "native":
        operators.use(True)
    return there


@functools.cache
def installed(name: str) -> bool:
    """Whether torch has the operators of the backend, compiled in and for this processor."""
    if name == "native":
        return not isinstance(library(), str)
    if name in _EXACT_WITH_VNNI and not sums_exactly():
        return False
    if name == "onednn" and not torch.backends.mkldnn.is_available():
        return False
    if name == "fbgemm" and not {"x86", "fbgemm"} & set(torch.backends.quantized.supported_engines):
        return False
    return all(map(has_operator, _OPERATORS[name]))


def sums_exactly() -> bool:
    """Whether the processor adds four products of 8 bits in 32 bits; older ones add two in 16 bits and may overflow."""
    probe = getattr(torch.cpu, "_is_vnni_supported", None)
    return probe is not None and bool(probe())


def has_operator(name: str) -> bool:
    """Whether `torch.ops` has the operator `namespace.name`."""
    namespace, _, last = name.partition(".")
    return hasattr(getattr(torch.ops, namespace), last)


@functools.cache
def switched_off() -> frozenset[str]:
    """Return the backends that the environment switches off; it is read once, `read_again` reads it anew.

    Raises:
        UsageError: a name that is no backend, or the last way that is left.
    """
    text = os.environ.get(VARIABLE, "")
    names = frozenset(word.strip() for word in text.split(",") if word.strip())
    for name in sorted(names - set(BACKENDS)):
        raise UsageError(f"{VARIABLE} names {name!r}, which is no backend", hint=suggestion(name, BACKENDS))
    if "float" in names:
        raise UsageError(f"{VARIABLE} names 'float', which must stay: it serves where nothing else does")
    return names


@functools.cache
def first_available(wanted: str, usable: tuple[str, ...]) -> str:
    """Return `wanted` where it is there and among `usable`, else the first of these that is; at last `float`."""
    return next((name for name in (wanted, *usable) if name in usable and available(name)), "float")


def read_again() -> None:
    """Forget what was found out, so that environment and torch are asked once more."""
    operators.use(False)
    for found in (switched_off, first_available, installed, library):
        found.cache_clear()


def missing() -> tuple[str, ...]:
    """Return the backends that cannot be used here."""
    return tuple(name for name in BACKENDS if not available(name))


def why_missing(name: str) -> str:
    """Return why a backend that is missing is not there."""
    if name in switched_off():
        return f"switched off by {VARIABLE}"
    found = library() if name == "native" else None
    return found if isinstance(found, str) else "not there in this torch or on this processor"
