"""Types of a loaded graph, computed on fake tensors under bounds, so that no file makes the loader work without end."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._pytree import tree_leaves

from fxcompress.errors import ArtifactError, VerificationFailed
from fxcompress.graph.shapes import Propagation
from fxcompress.targets.input_types import TypeReader
from fxcompress.targets.json_text import checked

MAX_DIMENSIONS = 64
# Parts of a size's expression: `b` has one, `16*b` three. Sympy's time grows steeply with floor divisions that nest.
MAX_EXPRESSION = 50
MAX_RESULTS = 20_000
# Far above what any model took: about 5 ms a node.
SECONDS, SECONDS_A_NODE = 60.0, 0.1


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
    # Where an op has no type rule, a fake tensor would run its kernel on real memory of the sizes that the file states.
    mode = FakeTensorMode(shape_env=shape_env, allow_non_fake_inputs=True, allow_fallback_kernels=False)
    with _silent(), mode, enable_python_dispatcher():
        reader = TypeReader(symbols, shape_env)
        inputs = [reader.decode(types[node.name]) for node in placeholders]
        _check_sizes(inputs)
        try:
            _Bounded(module, mode, shape_env).run(*inputs, enable_io_processing=False)
        except VerificationFailed as error:
            cause = error.__cause__
            why = cause.message if isinstance(cause, ArtifactError) else f"it does not hold: {error.why}"
            raise ArtifactError(f"node %{error.node}: {why.splitlines()[0][:500]}") from None


@contextmanager
def _silent() -> Iterator[None]:
    """Keep PyTorch from warning and logging: ops warn again when the graph runs, and errors come as errors."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    disabled, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = disabled


class _Bounded(Propagation):
    """Propagation that refuses what would take time or memory beyond the size of the file.

    Sizes are only numbers here, but lists of tensors, loops over a dimension, and arithmetic on whole numbers are real.
    """

    def __init__(self, module: GraphModule, mode: FakeTensorMode, shape_env: ShapeEnv) -> None:
        super().__init__(module, mode, shape_env)
        self._budget = MAX_RESULTS + 4 * len(module.graph.nodes)
        self._deadline = time.monotonic() + SECONDS + SECONDS_A_NODE * len(module.graph.nodes)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(target, torch._ops.OpOverload):
            self._spend(target, args, kwargs)
        else:
            _check_operands(target, args)
        result = super().call_function(target, args, kwargs)
        _check_sizes(result)
        if time.monotonic() > self._deadline:
            raise ArtifactError("the types of the graph take longer to compute than any model's")
        return result

    def _spend(self, target: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        name = target._schema.name.split("::")[1]
        count = _COUNTS.get(name)
        if count is None and any("List" in str(given.type) for given in target._schema.returns):
            count = _count_given
        if count is not None:
            names = [parameter.name for parameter in target._schema.arguments]
            # A negative number would give back what others spent.
            self._budget -= max(0, count({**dict(zip(names, args, strict=False)), **kwargs}))
            if self._budget < 0:
                raise ArtifactError(f"{target} would make more tensors than a file of this size may")


def _count_given(given: dict[str, Any]) -> int:
    """Count the results of an op that gives a tensor for every tensor, or for every number of a list, it is given."""
    return len(tree_leaves(given)) + 1


def _count_unbound(given: dict[str, Any]) -> int:
    return _size(given["self"], given.get("dim", 0))


def _count_split(given: dict[str, Any]) -> int:
    length = given.get("split_size", given.get("split_sizes"))
    if isinstance(length, list | tuple):
        return len(length)
    return _size(given["self"], given.get("dim", 0)) // max(1, _example(length)) + 1


def _count_chunks(given: dict[str, Any]) -> int:
    chunks = given.get("chunks", given.get("sections", given.get("indices")))
    return _example(chunks) if isinstance(chunks, int | torch.SymInt) else _count_given(given)


def _count_steps(given: dict[str, Any]) -> int:
    """Count the steps that a recurrent layer is unrolled into: some for each item of the sequence and each layer."""
    tensors = [value for value in given.values() if isinstance(value, torch.Tensor)]
    longest = max((_example(size) for tensor in tensors for size in tensor.shape[:2]), default=0)
    return longest * max(1, _example(given.get("num_layers", 1))) // 4


_COUNTS: dict[str, Callable[[dict[str, Any]], int]] = {
    **dict.fromkeys(("unbind", "unbind_copy"), _count_unbound),
    **dict.fromkeys(("split", "split_copy", "unsafe_split"), _count_split),
    **dict.fromkeys(("chunk", "unsafe_chunk", "tensor_split"), _count_chunks),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _count_steps),
}


def _size(tensor: Any, dim: Any) -> int:
    if not isinstance(tensor, torch.Tensor) or type(dim) is not int or not -tensor.dim() <= dim < tensor.dim():
        raise ArtifactError("a dimension that a tensor does not have")
    return _example(tensor.shape[dim])


def _example(size: Any) -> int:
    if isinstance(size, torch.SymInt):
        return int(size.node.hint) if size.node.has_hint() else 0
    return int(size)


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


def _check_sizes(result: Any) -> None:
    """Check every number, and every size of a tensor, in what a node gives."""
    for value in tree_leaves(result):
        sizes: list[Any] = [value]
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
