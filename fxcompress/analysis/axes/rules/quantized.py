"""Quantize and dequantize nodes: positions stay where they are, scales go with the channels that they are of."""

from __future__ import annotations

from fxcompress.analysis.axes.op import Op
from fxcompress.analysis.axes.rules.table import KEEP, LOSE, PRODUCT, rule

Q = "quantized_decomposed::"


@rule(f"{Q}dequantize_per_channel", zeros=PRODUCT)
@rule(f"{Q}quantize_per_channel", zeros=LOSE)
def per_channel(op: Op) -> None:
    """A channel whose scale is zero is zero, whatever its integers are."""
    given, axis = op.given("input"), op.argument("axis")
    op.broadcast(given)
    for value in (op.input("scales"), op.input("zero_points")):
        if value is not None:
            op.equal(value.axes[0], given.axes[axis])


@rule(f"{Q}quantize_per_tensor", f"{Q}dequantize_per_tensor", zeros=KEEP)
def per_tensor(op: Op) -> None:
    """Zero is mapped to the zero point and back."""
    op.broadcast(op.given("input"))
