"""Recurrent layers: what goes in may be pruned, states and outputs may not."""

from __future__ import annotations

from fxcompress.analysis.axes.op import Op
from fxcompress.analysis.axes.rules.table import LOSE, named, rule


@rule(*named("lstm", "gru", "rnn_tanh", "rnn_relu"), zeros=LOSE)
def recurrent(op: Op) -> None:
    """Weights [gates * hidden, in] of the first layer contract the features of the input."""
    given, weights = op.given("input"), [value for value in op.inputs("params") if value is not None]
    firsts = [value for value in weights if len(value.axes) == 2][:1]
    if op.argument("bidirectional"):
        step = len(weights) // (2 * op.argument("num_layers"))
        firsts += [weights[step]]
    for weight in firsts:
        op.contract(given.axes[-1], weight.axes[1])
    state = op.inputs("hx") if isinstance(op.argument("hx"), list | tuple) else [op.input("hx")]
    weights += [value for value in state if value is not None]
    states = [axis for value in weights for axis in value.axes if value not in firsts or axis.dim == 0]
    rest = [axis for value in op.outputs if value is not None for axis in value.axes]
    op.pin((*states, *rest, *given.axes[:-1]), "is a recurrent layer, whose states stay")
