"""The schemes of quantization: how numbers are stored, how many share a scale, and what happens to activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fxcompress.errors import UsageError
from fxcompress.text import suggestion

Format = Literal["int", "pow2", "bf16", "fp8"]
Granularity = Literal["tensor", "channel", "group"]
Activation = Literal["none", "dynamic", "static"]

# Weights that share a scale where nothing says how many.
GROUP = 32


@dataclass(frozen=True)
class Scheme:
    """How the weights of a layer are stored, and what its other operand is rounded to.

    Attributes:
        name: as options spell it.
        bits: of one weight.
        granularity: what shares a scale: the whole tensor, an output channel, or a group of inputs of one channel.
        symmetric: zero points are zero, and the range is as long below zero as above it.
        activation: `none` leaves activations alone; `dynamic` rounds each token by its own range, as the model runs;
            `static` rounds each tensor by a range that calibration found.
        group: weights in a group, where the granularity is one.
        format: integers, integers whose scales are powers of two, bfloat16, or 8-bit floats (e4m3).
    """

    name: str
    bits: int
    granularity: Granularity
    symmetric: bool = True
    activation: Activation = "none"
    group: int = 0
    format: Format = "int"

    @property
    def range(self) -> tuple[int, int]:
        """The smallest and the largest integer of a weight; symmetric ones leave the odd one out."""
        largest = 2 ** (self.bits - 1) - 1
        return (-largest if self.symmetric else -largest - 1), largest


SCHEMES: dict[str, Scheme] = {
    one.name: one
    for one in (
        Scheme("w8a16", 8, "channel"),
        Scheme("w4a16", 4, "group", symmetric=False, group=GROUP),
        Scheme("w3a16", 3, "group", symmetric=False, group=GROUP),
        Scheme("w2a16", 2, "group", symmetric=False, group=GROUP),
        Scheme("w8a8", 8, "channel", activation="dynamic"),
        Scheme("w8a8-static", 8, "channel", activation="static"),
        Scheme("bf16", 16, "tensor", activation="dynamic", format="bf16"),
        Scheme("fp8", 8, "channel", format="fp8"),
        Scheme("pow2", 8, "channel", format="pow2"),
    )
}


def scheme_named(name: str) -> Scheme:
    """Return the scheme of that name.

    Raises:
        UsageError: there is none, with the nearest name.
    """
    if name not in SCHEMES:
        raise UsageError(f"there is no scheme {name!r}", hint=suggestion(name, SCHEMES))
    return SCHEMES[name]
