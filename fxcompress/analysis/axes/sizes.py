"""Sizes as whole numbers: a dynamic size is a large prime, so that products and quotients of sizes stay exact."""

from __future__ import annotations

from typing import Any

import sympy
import torch

DYNAMIC = 2**60
_APART = 2**16


class Sizes:
    """Gives every dynamic size of one graph its number."""

    def __init__(self) -> None:
        self._symbols: dict[sympy.Symbol, int] = {}
        self._known: dict[sympy.Expr, int] = {}

    def of(self, size: Any) -> int:
        """Return a size as a whole number, `DYNAMIC` or more where it is dynamic."""
        if not isinstance(size, torch.SymInt):
            return int(size)
        expression = size.node.expr
        if expression not in self._known:
            self._known[expression] = self._number(expression)
        return self._known[expression]

    def _number(self, expression: sympy.Expr) -> int:
        for symbol in sorted(expression.free_symbols, key=str):
            if symbol not in self._symbols:
                self._symbols[symbol] = _prime(len(self._symbols))
        value = expression.subs(self._symbols)
        if value.is_Integer and value > 0:
            return int(value)
        # Not a product of dynamic and fixed sizes: equal to nothing but itself.
        return 2**4000 + len(self._known)


def _prime(number: int) -> int:
    """Return the prime for the symbol of this number: none is near another one, and no size in memory reaches any."""
    return int(sympy.nextprime(2 * DYNAMIC * _APART**number))


def is_dynamic(size: int) -> bool:
    """Whether `size` stands for a dynamic size, or for a multiple of one."""
    return size >= DYNAMIC
