"""Second moments of what layers are given: all that an error in their outputs depends on."""

from __future__ import annotations

from typing import Self

import torch

from fxcompress.errors import InputError, UsageError


class Gram:
    """Sums of products of inputs over all rows, group by group: X'X, and X'Y with rows Y beside them.

    Half of the Hessian of the squared error of a layer's outputs, with respect to the weights of one output, is X'X.
    Shards merge by their sums.

    Attributes:
        products: float64 [groups, width, width], X'X; None before the first rows.
        crossed: float64 [groups, width, width], X'Y; None where no rows Y were given.
        count: rows seen.
    """

    def __init__(self) -> None:
        self.products: torch.Tensor | None = None
        self.crossed: torch.Tensor | None = None
        self.count = 0

    def update(self, rows: torch.Tensor, beside: torch.Tensor | None = None) -> None:
        """Add rows [groups, rows, width] of any floating dtype, and others of the same shape `beside` them.

        Raises:
            InputError: some are not finite, or of another width than before.
        """
        wide = rows.detach().double()
        made = wide.mT @ wide
        crossed = None if beside is None else wide.mT @ beside.detach().double()
        if not made.isfinite().all() or not (crossed is None or crossed.isfinite().all()):
            raise InputError("values that are not finite (NaN or infinite) have no moments")
        if self.products is not None and made.shape != self.products.shape:
            raise InputError(f"rows of {made.shape[-1]} values, {self.products.shape[-1]} before")
        self._add(made, crossed, rows.shape[1])

    def merge(self, other: Self) -> None:
        """Add what `other` has seen.

        Raises:
            UsageError: it is of another shape, or one of the two has seen rows beside and the other has not.
        """
        if other.products is None:
            return
        if self.products is not None:
            fits = self.products.shape == other.products.shape and (self.crossed is None) == (other.crossed is None)
            if not fits:
                raise UsageError("moments of different layers do not merge")
        self._add(other.products, other.crossed, other.count)

    def _add(self, products: torch.Tensor, crossed: torch.Tensor | None, count: int) -> None:
        self.products = products if self.products is None else self.products + products
        if crossed is not None:
            self.crossed = crossed if self.crossed is None else self.crossed + crossed
        self.count += count
