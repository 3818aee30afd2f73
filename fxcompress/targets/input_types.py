"""The types of a graph's inputs as JSON, and back: dtype, device, and sizes with symbols for those that are dynamic."""

from __future__ import annotations

from typing import Any

import sympy
import torch
from torch.fx import Graph
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from fxcompress.errors import ArtifactError
from fxcompress.graph.shapes import new_symbol
from fxcompress.targets import arguments, names
from fxcompress.targets.json_text import checked, record

MAX_DIMENSIONS = 64
MAX_SYMBOLS = 64
MAX_TERMS = 16
MAX_SIZE = 2**40


class TypeWriter:
    """Writes types as JSON and names the symbols in them, in the order in which they come.

    Attributes:
        symbols: the example size of every symbol met so far, by its name.
    """

    def __init__(self) -> None:
        self.symbols: dict[str, int] = {}
        self._names: dict[sympy.Symbol, str] = {}

    def encode(self, value: Any) -> Any:
        """Return the type of an input: a tensor, a dynamic size, or a constant, which stands for itself."""
        if isinstance(value, torch.Tensor):
            # Artifacts hold their tensors on the CPU, so that is where their inputs are.
            sizes, strides = ([self._size(size) for size in sizes] for sizes in (value.shape, value.stride()))
            return {"tensor": {"dtype": str(value.dtype).removeprefix("torch."), "shape": sizes, "stride": strides}}
        if isinstance(value, torch.SymInt):
            return {"size": self._size(value)}
        return {"constant": arguments.encode(value)}

    def _size(self, size: Any) -> Any:
        """Return a size: a number, or for `2*b + 1` the list `[[2, "b"], [1]]` of its terms."""
        expression = sympy.sympify(size) if isinstance(size, int) else size.node.expr
        if expression.is_Integer:
            return int(expression)
        for symbol in sorted(expression.free_symbols - set(self._names), key=str):
            self._names[symbol] = f"s{len(self._names)}"
            self.symbols[self._names[symbol]] = int(size.node.shape_env.backed_var_to_val[symbol])
        symbols = [symbol for symbol in self._names if symbol in expression.free_symbols]
        try:
            terms = sympy.Poly(expression, *symbols).terms()
            return [self._term(int(factor), powers, symbols) for powers, factor in terms]
        except (sympy.PolynomialError, TypeError, ValueError):
            raise ArtifactError(f"an input has the size {expression}, which is no sum of products") from None

    def _term(self, factor: int, powers: tuple[int, ...], symbols: list[sympy.Symbol]) -> list[Any]:
        factors = [self._names[symbol] for symbol, power in zip(symbols, powers, strict=True) for _ in range(power)]
        return [factor, *factors]


class TypeReader:
    """Makes fake inputs from their types. To be used inside a fake tensor mode.

    Args:
        symbols: JSON, the example sizes of the symbols.
        shape_env: where the symbols live.
    """

    def __init__(self, symbols: Any, shape_env: ShapeEnv) -> None:
        if len(checked(symbols, dict, "the symbols")) > MAX_SYMBOLS:
            raise ArtifactError(f"the graph has more than {MAX_SYMBOLS} dynamic sizes")
        self.symbols: dict[str, torch.SymInt] = {}
        for name, example in symbols.items():
            # Sizes of zero and one are not dynamic in PyTorch.
            if not 2 <= checked(example, int, "the example of a dynamic size") <= MAX_SIZE:
                raise ArtifactError(f"the dynamic size {example} is none between 2 and {MAX_SIZE}")
            symbol = new_symbol(shape_env, f"input_{len(self.symbols)}", example)
            self.symbols[names.identifier(name, "a symbol")] = symbol

    def decode(self, value: Any) -> Any:
        """Return a fake tensor, a symbolic size or a constant."""
        fields = record(value, "the type of an input", {}, {"tensor": dict, "size": object, "constant": object})
        if len(fields) != 1:
            raise ArtifactError("the type of an input is not one type")
        if "constant" in fields:
            return arguments.decode(fields["constant"])
        if "size" in fields:
            return self._size(fields["size"])
        tensor = record(fields["tensor"], "the type of an input", {"dtype": str, "shape": list, "stride": list})
        if not len(tensor["shape"]) == len(tensor["stride"]) <= MAX_DIMENSIONS:
            raise ArtifactError(f"an input has more than {MAX_DIMENSIONS} dimensions, or not a stride for each")
        sizes, strides = ([self._size(size) for size in tensor[key]] for key in ("shape", "stride"))
        try:
            return torch.empty_strided(sizes, strides, dtype=arguments.dtype(tensor["dtype"]))
        except (RuntimeError, TypeError, ValueError, AssertionError) as error:
            raise ArtifactError(f"an input of the sizes {sizes} cannot be: {error}") from None

    def _size(self, value: Any) -> Any:
        if isinstance(value, list):
            if not 0 < len(value) <= MAX_TERMS:
                raise ArtifactError(f"a size has {len(value)} terms; {MAX_TERMS} are allowed")
            return sum(self._product(term) for term in value)
        if not 0 <= checked(value, int, "a size") <= MAX_SIZE:
            raise ArtifactError(f"the size {value} is out of range")
        return value

    def _product(self, term: Any) -> Any:
        factor, *symbols = checked(term, list, "a term of a size") or [None]
        if not -MAX_SIZE <= checked(factor, int, "the factor of a size") <= MAX_SIZE or len(symbols) > 4:
            raise ArtifactError("a term of a size is too large")
        product: Any = factor
        for name in symbols:
            if checked(name, str, "a symbol of a size") not in self.symbols:
                raise ArtifactError(f"a size has the symbol {name[:40]!r}, which the file does not describe")
            product = product * self.symbols[name]
        return product


def encode_input_types(graph: Graph) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the types of the inputs by the names of their nodes, and the example sizes of their symbols."""
    writer = TypeWriter()
    types: dict[str, Any] = {}
    for node in graph.find_nodes(op="placeholder"):
        if "val" not in node.meta:
            raise ArtifactError(f"the input %{node} has no type", hint="run fxcompress.graph.shapes.propagate first")
        types[node.name] = writer.encode(node.meta["val"])
    return types, writer.symbols
