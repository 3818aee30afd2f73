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


@rule(
    *("fxcompress::fake_quantize_tensor", "fxcompress::fake_quantize_tokens", "fxcompress::fake_quantize_samples"),
    zeros=KEEP,
)
def fake_quantized(op: Op) -> None:
    """Zero is always in the range, and is represented exactly."""
    op.broadcast(op.given("input"))


@rule("fxcompress::masked", zeros=PRODUCT)
def masked(op: Op) -> None:
    """The mask goes with its weight, which is zero where either is."""
    for value in op.tensors():
        op.broadcast(value)


@rule("fxcompress::fake_quantize_weight", zeros=KEEP)
def fake_quantized_weight(op: Op) -> None:
    """Scales go with their channels; groups are of neighbouring weights, none of which may go alone."""
    given, axis = op.given("weight"), op.argument("axis")
    op.broadcast(given)
    for value in (op.input(name) for name in ("scale", "stretch", "zero")):
        if value is not None and value.axes:
            op.equal(value.axes[0], given.axes[axis])
            op.pin(value.axes[1:], "shares scales among groups of weights")
    if op.argument("group"):
        rest = [one for place, one in enumerate(given.axes) if place != axis]
        op.pin(rest, "shares scales among groups of weights")


@rule("fxcompress::shared_weights", zeros=LOSE)
def shared_weights(op: Op) -> None:
    """Places say nothing of what a channel is worth, so that none can be ranked."""
    op.broadcast(op.given("indices"))
    for value in op.tensors():
        op.pin(value.axes, "looks up shared values: prune before cluster")
