"""Types of a loaded graph, computed on fake tensors under bounds, so that no file makes the loader work without end."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from fxcompress.errors import ArtifactError, VerificationFailed
from fxcompress.graph.shapes import Propagation
from fxcompress.targets.input_types import TypeReader
from fxcompress.targets.json_text import checked

MAX_DIMENSIONS = 64
MAX_EXPRESSION = 400
_UNROLLED = ("lstm", "gru", "rnn_tanh", "rnn_relu")


def restore_types(module: GraphModule, types: Any, symbols: Any) -> None:
    """Write `meta["val"]` of every node of `module`, from the types of its inputs.

    Args:
        module: its graph is checked already.
        types: JSON, the type of every placeholder by its name.
        symbols: JSON, the example sizes of the symbols in them.

    Raises:
        ArtifactError: types that are not those of the graph, or that the graph does not take.
    """
    placeholders = module.graph.find_nodes(op="placeholder")
    if set(checked(types, dict, "the types of the inputs")) != {node.name for node in placeholders}:
        raise ArtifactError("the types of the inputs are not those of the graph's inputs")
    shape_env = ShapeEnv()
    # What kernels warn of, they say again when the graph runs.
    mode = FakeTensorMode(shape_env=shape_env, allow_non_fake_inputs=True)
    with warnings.catch_warnings(), mode, enable_python_dispatcher():
        warnings.simplefilter("ignore")
        reader = TypeReader(symbols, shape_env)
        inputs = [reader.decode(types[node.name]) for node in placeholders]
        try:
            _Bounded(module, shape_env).run(*inputs, enable_io_processing=False)
        except VerificationFailed as error:
            cause = error.__cause__
            raise (cause if isinstance(cause, ArtifactError) else ArtifactError(_first_line(str(error)))) from None


def _first_line(text: str) -> str:
    return f"the graph does not hold: {text.splitlines()[0][:500]}"


class _Bounded(Propagation):
    """Propagation that refuses what would take time or memory beyond the size of the file.

    Sizes are only numbers here, but lists of tensors, loops over a dimension, and arithmetic on whole numbers are real.
    """

    def __init__(self, module: GraphModule, shape_env: ShapeEnv) -> None:
        super().__init__(module, shape_env)
        self._budget = 20_000 + 4 * len(module.graph.nodes)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(target, torch._ops.OpOverload):
            self._spend(target, args)
        else:
            _check_operands(target, args)
        result = super().call_function(target, args, kwargs)
        for value in torch.utils._pytree.tree_leaves(result):
            _check_result(value)
        return result

    def _spend(self, target: torch._ops.OpOverload, args: tuple[Any, ...]) -> None:
        name = target._schema.name.split("::")[1]
        lists = any("List" in str(given.type) for given in target._schema.returns)
        if lists or name in _UNROLLED:
            self._budget -= max((_example(size) for size in _sizes(args)), default=0)
            if self._budget < 0:
                raise ArtifactError(f"{target} would make more tensors than a file of this size may")


def _sizes(args: tuple[Any, ...]) -> list[Any]:
    """Return every number that could be a count of results: sizes of tensors and plain numbers."""
    sizes: list[Any] = []
    for value in torch.utils._pytree.tree_leaves(args):
        if isinstance(value, torch.Tensor):
            sizes.extend(value.shape)
        elif isinstance(value, int | torch.SymInt) and not isinstance(value, bool):
            sizes.append(value)
    return sizes


def _example(size: Any) -> int:
    if isinstance(size, int):
        return size
    hint = size.node.hint
    return 0 if hint is None else int(hint)


def _check_operands(target: Any, args: tuple[Any, ...]) -> None:
    """Python's functions run on numbers only: on a list or a string, `mul` would make memory."""
    if target.__name__ == "getitem":
        if not isinstance(args[0], tuple | list) or type(args[1]) is not int:
            raise ArtifactError("getitem takes a list of results and a number")
        return
    operands = args[0] if target.__name__ == "sym_sum" else args
    for operand in operands:
        if not isinstance(operand, int | float | torch.SymInt | torch.SymFloat | torch.SymBool):
            raise ArtifactError(f"{target.__name__} takes numbers, not {type(operand).__name__}")
    if target.__name__ == "pow" and not (type(args[1]) in (int, float) and abs(args[1]) <= 4):
        raise ArtifactError("pow takes an exponent of four at most")


def _check_result(value: Any) -> None:
    sizes = [value]
    if isinstance(value, torch.Tensor):
        if value.dim() > MAX_DIMENSIONS:
            raise ArtifactError(f"a tensor of {value.dim()} dimensions; {MAX_DIMENSIONS} are allowed")
        sizes = [size for size in value.shape if not isinstance(size, int)]
    for size in sizes:
        if type(size) is int and not -(2**63) <= size < 2**63:
            raise ArtifactError("a size beyond 64 bits")
        if isinstance(size, torch.SymInt | torch.SymFloat) and _complexity(size.node.expr) > MAX_EXPRESSION:
            raise ArtifactError("a size that is too long an expression")


def _complexity(expression: Any) -> int:
    """Return how many parts an expression has, counted no further than is needed to call it too long."""
    count, rest = 0, [expression]
    while rest and count <= MAX_EXPRESSION:
        part = rest.pop()
        count += 1
        rest.extend(part.args)
    return count

