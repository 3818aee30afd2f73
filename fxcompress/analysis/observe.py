"""Runs a graph node by node and tells an observer of each; the module is left as it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.fx import GraphModule, Interpreter, Node
from torch.fx import _pytree as fx_pytree

from fxcompress.capturing.inputs import Inputs
from fxcompress.errors import InputError
from fxcompress.graph.module import training_flag
from fxcompress.graph.nodes import argument

# Is told of a node, what it gave, and the seconds that its call took.
Observer = Callable[[Node, Any, float], None]


def observe(module: GraphModule, inputs: Inputs, observer: Observer) -> None:
    """Run `module` on `inputs`, without gradients, and tell `observer` of every node.

    A value is freed after its last use, unless the observer keeps it.

    Raises:
        InputError: the inputs do not fit the graph.
    """
    values = flat_inputs(module, inputs)
    with torch.no_grad(), buffers_restored(module):
        _Observed(module, observer).run(*values, enable_io_processing=False)


class _Observed(Interpreter):
    def __init__(self, module: GraphModule, observer: Observer) -> None:
        super().__init__(module)
        self.observer = observer
        self.seconds = 0.0

    def run_node(self, n: Node) -> Any:
        self.seconds = 0.0
        value = super().run_node(n)
        self.observer(n, value, self.seconds)
        return value

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        start = time.perf_counter()
        value = super().call_function(target, args, kwargs)
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - start
        return value


def flat_inputs(module: GraphModule, inputs: Inputs) -> list[Any]:
    """Return the values of the placeholders of `module`, in their order, for a call with `inputs`.

    Raises:
        InputError: the inputs do not fit.
    """
    names = [str(node.target) for node in module.graph.find_nodes(op="placeholder")]
    info = getattr(module.graph._codegen, "pytree_info", None)
    args, kwargs = list(inputs.args), dict(inputs.kwargs)
    try:
        if info is None:
            values = args + [kwargs.pop(name) for name in names[len(args) :]]
        else:
            values = fx_pytree.tree_flatten_spec((args, kwargs), info.in_spec)
    except (KeyError, IndexError, RuntimeError) as error:
        raise _misfit(inputs, names) from error
    if len(values) != len(names):
        raise _misfit(inputs, names)
    return values


def _misfit(inputs: Inputs, names: list[str]) -> InputError:
    return InputError(f"the inputs {inputs.describe()} do not fit the graph", hint=f"it takes {', '.join(names)}")


@contextmanager
def buffers_restored(module: GraphModule) -> Iterator[None]:
    """Put back what a run writes into buffers, such as the statistics of a batch norm in training."""
    writes = any(may_write(node) for node in module.graph.nodes)
    copies = {name: buffer.clone() for name, buffer in module.named_buffers()} if writes else {}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, copy in copies.items():
                module.get_buffer(name).copy_(copy)


def may_write(node: Node) -> bool:
    """Whether the call `node` may write into what it is given."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return isinstance(node.target, torch._ops.HigherOrderOperator)
    flag = training_flag(node)
    return bool(node.target._schema.is_mutable or (flag is not None and argument(node, flag)))
