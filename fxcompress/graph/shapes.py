"""Types of all nodes, computed without running anything: fake tensors, symbolic where an input is dynamic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch._dispatch.python import enable_python_dispatcher
from torch._dynamo.source import ConstantSource
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv

from fxcompress.errors import VerificationFailed
from fxcompress.graph.types import symbol_names, type_text

aten = torch.ops.aten
RECURRENT = (aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input)


@dataclass(frozen=True)
class Specialised:
    """A dynamic size that a node fixed: the graph holds for one value of it only, or for equal sizes."""

    text: str
    node: str


@dataclass(frozen=True)
class Propagated:
    """What computing the types showed: the shape environment, and the dynamic sizes that the graph fixed."""

    shape_env: ShapeEnv
    specialised: tuple[Specialised, ...]


class Propagation(Interpreter):
    """Runs a graph on fake inputs and leaves in `meta["val"]` of every node what it gives."""

    def __init__(self, module: GraphModule, mode: FakeTensorMode, shape_env: ShapeEnv) -> None:
        super().__init__(module)
        self.mode = mode
        self.shape_env = shape_env
        self.specialised: list[Specialised] = []

    def get_attr(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return a fake value for a parameter or buffer, so that no node holds on to the data of one."""
        value = super().get_attr(target, args, kwargs)
        if isinstance(value, torch.Tensor) and not is_fake(value):
            return self.mode.from_tensor(value, static_shapes=True)
        return value

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what a call gives; a recurrent layer is not unrolled over its steps for that."""
        if target in RECURRENT:
            return recurrent_types(*args)
        return super().call_function(target, args, kwargs)

    def run_node(self, n: Node) -> Any:
        try:
            value = super().run_node(n)
        except Exception as error:
            symbols = symbol_names(n.graph)
            given = ", ".join(type_text(node.meta.get("val"), symbols) for node in n.all_input_nodes)
            called = n._pretty_print_target(n.target)
            raise VerificationFailed(f"{called} does not take ({given}): {error}", n) from error
        if n.op != "output":
            n.meta["val"] = value
        if "predicted" in n.meta:
            check_prediction(n, n.meta.pop("predicted"))
        if len(self.shape_env.replacements) > len(self.specialised):
            symbol, value_of_it = list(self.shape_env.replacements.items())[-1]
            self.specialised.append(Specialised(f"{symbol} = {value_of_it}", n.name))
        return value


def propagate(module: GraphModule) -> Propagated:
    """Write into `meta["val"]` of every node the fake value that it gives, from the types of the inputs.

    Inputs keep their types; a dynamic size stays one symbol wherever it stood in the old types. What a pass has
    predicted of a node, in `meta["predicted"]`, is checked and dropped.

    Returns:
        the fresh shape environment, and the dynamic sizes that nodes fixed.

    Raises:
        VerificationFailed: a node does not take what it is given; named with the types it is given.
    """
    shape_env = ShapeEnv()
    mode = FakeTensorMode(shape_env=shape_env, allow_non_fake_inputs=True)
    symbols: dict[sympy.Symbol, torch.SymInt] = {}
    placeholders = module.graph.find_nodes(op="placeholder")
    # The decompositions in Python keep sizes symbolic where those in C++ take the example's size for a number.
    with mode, enable_python_dispatcher():
        inputs = [_fresh(node.meta.get("val"), shape_env, symbols) for node in placeholders]
        propagation = Propagation(module, mode, shape_env)
        propagation.run(*inputs, enable_io_processing=False)
    return Propagated(shape_env, tuple(propagation.specialised))


def check_prediction(node: Node, predicted: tuple[tuple[int | None, ...] | None, ...]) -> None:
    """Raise where the sizes of what `node` gives are not those that a pass predicted.

    Args:
        predicted: for each output its sizes, None for a dynamic one; None for an output that is no tensor.
    """
    given = node.meta["val"]
    for sizes, one in zip(predicted, given if isinstance(given, list | tuple) else [given], strict=True):
        found = list(one.shape) if isinstance(one, torch.Tensor) else []
        for size, real in zip(sizes or (), found, strict=True):
            if size is not None and isinstance(real, int) and size != real:
                raise VerificationFailed(f"the pass predicted {list(sizes or ())} here, and it is {found}", node)


def recurrent_types(given: torch.Tensor, states: Any, *options: Any) -> tuple[torch.Tensor, ...]:
    """Return tensors without data like the output and the last states of an LSTM, GRU or RNN.

    Args:
        given: the input, [batch, steps, features] or [steps, batch, features].
        states: the first states, [layers * directions, batch, features] each; of a GRU or RNN a tensor.
        options: the other arguments in the order of the schemas, which is the same for all; the last two say whether
            the layer runs in both directions, and whether the batch comes first.
    """
    firsts = states if isinstance(states, list | tuple) else [states]
    bidirectional, batch_first = options[-2:]
    steps, batch = (given.shape[1], given.shape[0]) if batch_first else (given.shape[0], given.shape[1])
    output = given.new_empty([steps, batch, firsts[0].shape[-1] * (2 if bidirectional else 1)])
    return (output.transpose(0, 1) if batch_first else output, *(torch.empty_like(state) for state in firsts))


def _fresh(value: Any, shape_env: ShapeEnv, symbols: dict[sympy.Symbol, torch.SymInt]) -> Any:
    """Return a tensor without data like `value` whose symbols belong to `shape_env`; other values as they are."""
    if isinstance(value, torch.SymInt):
        return _fresh_size(value, shape_env, symbols)
    if not isinstance(value, torch.Tensor):
        return value
    sizes = [_fresh_size(size, shape_env, symbols) for size in value.shape]
    strides = [_fresh_size(stride, shape_env, symbols) for stride in value.stride()]
    return torch.empty_strided(sizes, strides, dtype=value.dtype, device=value.device)


def _fresh_size(size: Any, shape_env: ShapeEnv, symbols: dict[sympy.Symbol, torch.SymInt]) -> Any:
    if isinstance(size, int):
        return size
    expression = size.node.expr
    for symbol in sorted(expression.free_symbols, key=str):
        if symbol not in symbols:
            hint = int(size.node.shape_env.backed_var_to_val[symbol])
            symbols[symbol] = new_symbol(shape_env, f"input_{len(symbols)}", hint)
    return sympy.lambdify(list(symbols), expression, modules=[{}])(*symbols.values())


def new_symbol(shape_env: ShapeEnv, name: str, hint: int) -> torch.SymInt:
    """Return a new dynamic size of `shape_env` whose example value is `hint`."""
    source = ConstantSource(name)
    symbol = shape_env.create_symbol(hint, source=source, dynamic_dim=DimDynamic.DYNAMIC)
    made = shape_env.create_symintnode(symbol, hint=hint, source=source)
    assert isinstance(made, torch.SymInt)
    return made


def is_fake(value: Any) -> bool:
    """Whether `value` is a tensor without data."""
    return isinstance(value, FakeTensor)
