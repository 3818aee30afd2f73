"""The cases of all rules: which calls they are tried on, and what is expected of the axes there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from one_call import Call, Numbers

Maker = Callable[[Numbers], Call]
CASES: dict[str, Maker] = {}


def case(maker: Maker) -> Maker:
    """Register a function that makes a call from numbers, under its name."""
    assert maker.__name__ not in CASES, maker.__name__
    CASES[maker.__name__] = maker
    return maker


def family(name: str, options: list[Any], maker: Callable[[Numbers, Any], Call]) -> None:
    """Register one case for each option."""
    for place, option in enumerate(options):
        word = option if isinstance(option, str) else option[0] if isinstance(option, tuple) else str(place)
        key = f"{name}_{word.replace('.', '_')}"
        assert key not in CASES, key
        CASES[key] = lambda n, option=option: maker(n, option)
