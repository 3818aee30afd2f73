"""Sizes as whole numbers: a dynamic size is a large prime, so that products and quotients of sizes stay exact."""

from __future__ import annotations

from typing import Any

import sympy
import torch

# The first Mersenne primes that no size in memory reaches; each symbol of a graph is one of them.
_PRIMES = tuple(2**exponent - 1 for exponent in (61, 89, 107, 127, 521, 607, 1279, 2203, 2281, 3217))
DYNAMIC = 2**60


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
            self._symbols.setdefault(symbol, _PRIMES[len(self._symbols)])
        value = expression.subs(self._symbols)
        if value.is_Integer and value > 0:
            return int(value)
        # Not a product of dynamic and fixed sizes: equal to nothing but itself.
        return 2**4000 + len(self._known)


def is_dynamic(size: int) -> bool:
    """Whether `size` stands for a dynamic size, or for a multiple of one."""
    return size >= DYNAMIC
