"""A graph as rows of plain texts: what a diff compares, and what stays when the graph is gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from fxcompress.analysis.cost import is_weight
from fxcompress.graph.fingerprint import fingerprint, tensor_digest
from fxcompress.graph.nodes import scope
from fxcompress.graph.shapes import is_fake
from fxcompress.graph.tensors import attribute
from fxcompress.graph.types import dtype_text, symbol_names, type_text
from fxcompress.inspect.arguments import arguments_of
from fxcompress.inspect.rows import Parameter, Row, call_text, printable, row_dict


@dataclass(frozen=True)
class Snapshot:
    """The rows of a graph in their order, and totals over what the graph reads.

    Attributes:
        label: what the graph is called in a diff.
        rows: placeholders, calls and the output.
        nodes: number of rows.
        parameters: number of weights that the rows read, tied ones counted once; buffers and constants are none.
        bytes: size of all tensors that the rows read.
    """

    label: str
    rows: tuple[Row, ...]
    nodes: int
    parameters: int
    bytes: int

    def __str__(self) -> str:
        cells = [(f"%{row.name}", call_text(row), row.result) for row in self.rows]
        left = max((len(cell[0]) for cell in cells), default=0)
        return "\n".join(printable(f"{name:<{left}}  {call}  {result}".rstrip()) for name, call, result in cells)

    def to_dict(self) -> dict[str, Any]:
        """Return the snapshot as plain JSON values."""
        totals = {"label": self.label, "nodes": self.nodes, "parameters": self.parameters, "bytes": self.bytes}
        return {**totals, "rows": [row_dict(row) for row in self.rows]}


def snapshot(module: GraphModule, label: str = "", digests: Mapping[str, str] | None = None) -> Snapshot:
    """Return the rows of `module`'s graph.

    Args:
        module: a captured graph; result types are read off `meta["val"]`.
        label: what the graph is called in a diff.
        digests: digests of tensors by path that the caller has just computed with `graph.fingerprint.tensor_digest`;
            those of the others are computed here, which is what takes time.
    """
    read = _Tensors(module, digests or {})
    symbols = symbol_names(module.graph)
    scopes: dict[Node, str] = {}
    rows = []
    for node in module.graph.nodes:
        scopes[node] = _scope(node, scopes)
        if node.op != "get_attr":
            rows.append(_row(node, scopes[node], read, symbols))
    unique = list({parameter.owner: parameter for row in rows for parameter in row.parameters}.values())
    sizes = sum(parameter.weights for parameter in unique), sum(parameter.bytes for parameter in unique)
    return Snapshot(label, tuple(rows), len(rows), *sizes)


def _row(node: Node, where: str, read: _Tensors, symbols: dict[str, str]) -> Row:
    arguments = arguments_of(node)
    paths = {piece.text: None for argument in arguments for piece in argument.pieces if piece.kind == "parameter"}
    result = structure_text(node.graph) if node.op == "output" else type_text(node.meta.get("val"), symbols)
    op, target = _operation(node)
    origin = tuple(str(name) for name in node.meta.get("origin", ()))
    return Row(node.name, op, target, arguments, result, tuple(read(path) for path in paths), where, origin)


def structure_text(graph: Graph) -> str:
    """Return how the results of a call are nested: `{logits: *, features: [*, *]}`; "" for a plain graph."""
    info = getattr(graph._codegen, "pytree_info", None)
    return "" if info is None or info.out_spec is None else _spec_text(info.out_spec)


def _spec_text(spec: Any) -> str:
    if spec.is_leaf():
        return "*"
    children = [_spec_text(child) for child in spec.children()]
    if spec.type in (list, tuple):
        return f"{'[' if spec.type is list else '('}{', '.join(children)}{']' if spec.type is list else ')'}"
    keys = spec.context if isinstance(spec.context, list) and len(spec.context) == len(children) else None
    inside = (
        ", ".join(f"{key}: {child}" for key, child in zip(keys, children, strict=True)) if keys else ", ".join(children)
    )
    return f"{'' if spec.type is dict else getattr(spec.type, '__name__', spec.type)}{{{inside}}}"


def _scope(node: Node, scopes: dict[Node, str]) -> str:
    """Return the scope of `node`; one that a pass put in without saying where belongs with what it reads."""
    if node.op == "call_function" and "nn_module_stack" not in node.meta:
        return next((scopes[given] for given in node.all_input_nodes if given.op == "call_function"), "")
    return scope(node)


def _operation(node: Node) -> tuple[str, str]:
    """Return what `node` calls, in short and in full."""
    if node.op != "call_function":
        word = node.op if node.op in ("placeholder", "output") else f"{node.op} {node.target}"
        return word, word
    packet = getattr(node.target, "overloadpacket", None)
    if packet is None:
        word = str(getattr(node.target, "__name__", node.target))
        return word, f"{getattr(node.target, '__module__', '')}.{word}"
    return str(packet).removeprefix("aten."), str(node.target)


class _Tensors:
    """Reads the facts of tensors by path, each once."""

    def __init__(self, module: GraphModule, digests: Mapping[str, str]) -> None:
        self.module = module
        self.digests = digests
        self.found: dict[str, Parameter] = {}
        self.owners: dict[object, str] = {}

    def __call__(self, path: str) -> Parameter:
        if path not in self.found:
            value = attribute(self.module, path)
            owner = self.owners.setdefault(_identity(value), path)
            self.found[path] = self._facts(path, owner, value)
        return self.found[path]

    def _facts(self, path: str, owner: str, value: Any) -> Parameter:
        if not isinstance(value, torch.Tensor):
            digest = fingerprint(value) if isinstance(value, GraphModule) else type(value).__name__
            return Parameter(path, owner, "graph", (), 0, 0, 0, 0, digest)
        shape, size = tuple(value.shape), value.numel() * value.element_size()
        dtype, elements = dtype_text(value.dtype), value.numel()
        weights = elements if is_weight(value) else 0
        if owner in self.found:
            known = self.found[owner]
            return Parameter(path, owner, dtype, shape, elements, weights, known.nonzero, size, known.digest)
        if is_fake(value) or value.device.type == "meta":
            return Parameter(path, owner, dtype, shape, elements, weights, elements, size, "without data")
        # PyTorch counts nothing of 8-bit floats.
        small = value.is_floating_point() and value.element_size() == 1
        nonzero = int(torch.count_nonzero(value.detach().float() if small else value.detach()))
        digest = self.digests.get(path) or tensor_digest(value)
        return Parameter(path, owner, dtype, shape, elements, weights, nonzero, size, digest)


def _identity(value: Any) -> object:
    """Return a key that is equal for two names of the same memory, read in the same way."""
    if not isinstance(value, torch.Tensor) or value.numel() == 0 or is_fake(value) or value.device.type == "meta":
        return id(value)
    return value.data_ptr(), str(value.device), value.dtype, tuple(value.shape), value.stride()
