"""A node as plain texts, and how it is written.

A parameter is no row of its own; it stands among the arguments of the calls that read it:

    %conv2d  conv2d(%x, stem.weight f32[16, 3, 3, 3], padding=[1, 1])  f32[b, 16, 8, 8]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fxcompress.inspect.arguments import Argument


@dataclass(frozen=True)
class Parameter:
    """A tensor that a node reads: a parameter, a buffer or a constant.

    Attributes:
        path: its qualified name.
        owner: the first path in the graph under which the same tensor is read; tied tensors share it.
        dtype: short name, `f32`; `graph` for a subgraph that a higher-order operator calls.
        shape: sizes.
        elements: number of elements.
        weights: the same where it counts as parameters, which buffers and constants do not; else 0.
        nonzero: number of elements that are not zero.
        bytes: size of its elements in memory.
        digest: SHA-256 of dtype, shape and contents.
    """

    path: str
    owner: str
    dtype: str
    shape: tuple[int, ...]
    elements: int
    weights: int
    nonzero: int
    bytes: int
    digest: str

    @property
    def sparsity(self) -> float:
        """Share of the elements that are zero."""
        return 1 - self.nonzero / self.elements if self.elements else 0.0

    @property
    def type(self) -> str:
        return self.dtype if self.dtype == "graph" else f"{self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Row:
    """One node.

    Attributes:
        name: its name in the graph.
        op: what it calls in short, `conv2d`; or `placeholder`, `output`.
        target: what it calls in full, `aten.conv2d.default`.
        arguments: what it is given.
        result: the type of what it gives.
        parameters: the tensors among its arguments, each once.
        scope: path of the module that it was captured in, "" for the root.
        origin: names of the former nodes that it stands for, as the pass that made it recorded them.
    """

    name: str
    op: str
    target: str
    arguments: tuple[Argument, ...]
    result: str
    parameters: tuple[Parameter, ...]
    scope: str
    origin: tuple[str, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The rendered arguments."""
        return tuple(argument_text(self, argument) for argument in self.arguments)

    def parameter(self, path: str) -> Parameter:
        return next(parameter for parameter in self.parameters if parameter.path == path)


# A share of zeros below this is what training leaves, and not worth a word.
NOTABLE_SPARSITY = 0.1


def parameter_text(parameter: Parameter, remark: str | None = None) -> str:
    """Return path, type and a remark; without one given, the sparsity of a matrix that has many zeros."""
    if remark is None:
        notable = len(parameter.shape) >= 2 and parameter.sparsity >= NOTABLE_SPARSITY
        remark = sparsity_text(parameter) if notable else ""
    return f"{parameter.path} {parameter.type} {remark}".rstrip()


def sparsity_text(parameter: Parameter) -> str:
    return f"sparsity {100 * parameter.sparsity:.3g}%"


def argument_text(row: Row, argument: Argument, remarks: Mapping[str, str] | None = None) -> str:
    """Return an argument as it is shown; `remarks` on parameters by path take the place of the usual ones."""
    text = "".join(_piece_texts(row, argument, remarks or {}))
    return f"{argument.key}={text}" if argument.named else text


def _piece_texts(row: Row, argument: Argument, remarks: Mapping[str, str]) -> Iterator[str]:
    for piece in argument.pieces:
        if piece.kind == "parameter":
            yield parameter_text(row.parameter(piece.text), remarks.get(piece.text))
        else:
            yield f"%{piece.text}" if piece.kind == "node" else piece.text


def call_text(row: Row, remarks: Mapping[str, str] | None = None, full: bool = False) -> str:
    """Return what a row calls with its arguments: `conv2d(%x, stem.weight f32[16, 3, 3, 3])`."""
    arguments = ", ".join(argument_text(row, argument, remarks) for argument in row.arguments)
    return f"{row.target.removeprefix('aten.') if full else row.op}({arguments})"


def row_dict(row: Row) -> dict[str, Any]:
    """Return a row as plain JSON values."""
    parameters = [
        {
            "path": parameter.path,
            "dtype": parameter.dtype,
            "shape": list(parameter.shape),
            "elements": parameter.elements,
            "nonzero": parameter.nonzero,
            "bytes": parameter.bytes,
            "digest": parameter.digest,
        }
        for parameter in row.parameters
    ]
    texts = {"name": row.name, "op": row.op, "target": row.target, "inputs": list(row.inputs), "result": row.result}
    return {**texts, "scope": row.scope, "origin": list(row.origin), "parameters": parameters}


def printable(text: str) -> str:
    """Return `text` with control characters escaped, so that a name cannot break a line or a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
