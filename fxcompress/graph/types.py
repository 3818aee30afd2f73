"""What a node gives, as text: `f32[b, 3, 8, 8]`. Symbols are named in the order in which inputs bring them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch.fx import Graph

SHORT_DTYPES = {
    torch.float64: "f64",
    torch.float32: "f32",
    torch.float16: "f16",
    torch.bfloat16: "bf16",
    torch.float8_e4m3fn: "f8e4m3",
    torch.float8_e5m2: "f8e5m2",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.int16: "i16",
    torch.int8: "i8",
    torch.uint8: "u8",
    torch.bool: "bool",
    torch.complex64: "c64",
    torch.complex128: "c128",
}


def dtype_text(dtype: torch.dtype) -> str:
    """Return the short name of a dtype: `f32`."""
    return SHORT_DTYPES.get(dtype, str(dtype).removeprefix("torch."))


def type_text(value: Any, symbols: dict[str, str] | None = None) -> str:
    """Return the type of what a node gives: tensors, symbolic numbers, and nests of them.

    Args:
        value: a tensor, fake or real, a number, a tuple, list or dict of these, or None.
        symbols: names for the symbols of symbolic sizes, as `symbol_names` gives them.
    """
    if isinstance(value, torch.Tensor):
        sizes = ", ".join(size_text(size, symbols) for size in value.shape)
        return f"{dtype_text(value.dtype)}[{sizes}]"
    if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
        return f"sym[{size_text(value, symbols)}]"
    if isinstance(value, list | tuple):
        return f"({', '.join(type_text(item, symbols) for item in value)})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {type_text(item, symbols)}' for key, item in value.items())}}}"
    return "none" if value is None else type(value).__name__


def size_text(size: Any, symbols: dict[str, str] | None = None) -> str:
    """Return a size, its symbols renamed: `4`, `b`, `2*b`."""
    if isinstance(size, int):
        return str(size)
    expression = str(getattr(getattr(size, "node", None), "expr", size))
    return re.sub(r"\w+", lambda found: (symbols or {}).get(found.group(), found.group()), expression)


def symbol_names(graph: Graph) -> dict[str, str]:
    """Return a name for every symbol in the inputs of `graph`: `b` for the first, then `n1`, `n2`, ..."""
    names: dict[str, str] = {}
    for node in graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        sizes: Iterable[Any] = value.shape if isinstance(value, torch.Tensor) else ()
        for size in sizes:
            if not isinstance(size, int):
                for symbol in re.findall(r"[su]\d+", str(size.node.expr)):
                    names.setdefault(symbol, f"n{len(names)}" if names else "b")
    return names
