"""How near one output is to another: signal to noise, cosine, largest difference, over any nest of tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from fxcompress.errors import VerificationFailed
from fxcompress.graph.types import type_text

# Elements that are brought to float64 at a time, so that large outputs need little memory beside themselves.
CHUNK = 1 << 20


@dataclass(frozen=True)
class Fidelity:
    """How near a value is to its reference.

    Floating-point tensors are taken together, as if they were one long vector. Where both are not a number, or both
    the same infinity, they agree and the place is left out; where only one of them is, nothing can be said of the
    distance: the signal-to-noise ratio is minus infinity, the cosine not a number, the largest difference infinite.

    Attributes:
        sqnr_db: 10 log10(sum reference² / sum (reference - value)²), infinite where both are equal.
        cosine: of the angle between both vectors; 1.0 where both are zero, not a number where one of them is.
        largest_difference: of the magnitudes |reference - value|.
        agreement: share of equal elements among all that are not floating point (integers, booleans, others).
    """

    sqnr_db: float
    cosine: float
    largest_difference: float
    agreement: float

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return self.largest_difference == 0 and self.agreement == 1


def compare_outputs(reference: Any, value: Any) -> Fidelity:
    """Return how near `value` is to `reference`, nests of tensors and numbers of the same structure.

    Args:
        reference: a tensor, a number, or a nest of these that `torch.utils._pytree` knows.
        value: the same with other contents; dtypes and devices may differ.

    Raises:
        VerificationFailed: the structures, or the shapes of two tensors, differ.
    """
    sums = FidelitySums()
    sums.see(reference, value)
    return sums.fidelity()


def sqnr_db(reference: Any, value: Any) -> float:
    """Return the signal-to-quantization-noise ratio in decibels; see `Fidelity`."""
    return compare_outputs(reference, value).sqnr_db


def cosine(reference: Any, value: Any) -> float:
    """Return the cosine of the angle between both; see `Fidelity`."""
    return compare_outputs(reference, value).cosine


def largest_difference(reference: Any, value: Any) -> float:
    """Return the largest magnitude of a difference; see `Fidelity`."""
    return compare_outputs(reference, value).largest_difference


def paired_leaves(reference: Any, value: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the leaves of both nests side by side, each with its place.

    Raises:
        VerificationFailed: the structures differ.
    """
    left, left_spec = pytree.tree_flatten_with_path(reference)
    right, right_spec = pytree.tree_flatten_with_path(value)
    if left_spec != right_spec:
        raise VerificationFailed(
            f"the outputs have another structure: {type_text(reference)} became {type_text(value)}"
        )
    for (path, one), (_, other) in zip(left, right, strict=True):
        yield pytree.keystr(path), one, other


class FidelitySums:
    """Adds up, in float64, what the measures are made of, over as many pairs as it is shown.

    Attributes:
        signal: the sum of the squares of the references.
        noise: the sum of the squares of the differences.
    """

    def __init__(self) -> None:
        self.signal = 0.0
        self.other_signal = 0.0
        self.noise = 0.0
        self.product = 0.0
        self.largest = 0.0
        self.same = 0
        self.count = 0

    def see(self, reference: Any, value: Any) -> None:
        """Take up one pair of nests; see `compare_outputs`."""
        for place, left, right in paired_leaves(reference, value):
            self.add(place, left, right)

    def fidelity(self) -> Fidelity:
        """Return the measures of all that was seen, as of one long vector."""
        return Fidelity(self.sqnr_db(), self.cosine(), self.largest, self.agreement())

    def add(self, place: str, reference: Any, value: Any) -> None:
        left, right = as_tensor(reference), as_tensor(value)
        if left is None or right is None:
            self._count(int(bool(reference == value)), 1)
            return
        if left.shape != right.shape:
            raise VerificationFailed(f"output{place} has another shape: {type_text(left)} became {type_text(right)}")
        right = right.to(left.device)
        if not (is_inexact(left) or is_inexact(right)):
            self._count(int((left == right).sum()), left.numel())
            return
        for one, other in zip(as_chunks(left), as_chunks(right), strict=True):
            self._add_floats(one.double(), other.double())

    def _count(self, same: int, count: int) -> None:
        self.same += same
        self.count += count

    def _add_floats(self, left: torch.Tensor, right: torch.Tensor) -> None:
        finite = left.isfinite() & right.isfinite()
        if not bool(finite.all()):
            agree = (left == right) | (left.isnan() & right.isnan())
            if not bool((finite | agree).all()):
                self.noise = self.largest = self.product = math.inf
            left, right = left[finite], right[finite]
        if left.numel() == 0:
            return
        difference = left - right
        self.signal += float(left.dot(left))
        self.other_signal += float(right.dot(right))
        self.noise += float(difference.dot(difference))
        self.product += float(left.dot(right))
        self.largest = max(self.largest, float(difference.abs().max()))

    def sqnr_db(self) -> float:
        return decibels(self.signal, self.noise)

    def cosine(self) -> float:
        if self.noise == 0:
            return 1.0
        length = math.sqrt(self.signal) * math.sqrt(self.other_signal)
        if self.noise == math.inf or length == 0:
            return math.nan
        return max(-1.0, min(1.0, self.product / length))

    def agreement(self) -> float:
        return self.same / self.count if self.count else 1.0


def decibels(signal: float, noise: float) -> float:
    """Return 10 log10(signal / noise), infinite where there is no noise."""
    if noise == 0:
        return math.inf
    if noise == math.inf or signal == 0:
        return -math.inf
    return 10 * math.log10(signal / noise)


def as_tensor(value: Any) -> torch.Tensor | None:
    """Return a leaf as a dense real tensor, None where it is neither tensor nor number."""
    if isinstance(value, bool | int | float | complex):
        value = torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)
    if not isinstance(value, torch.Tensor):
        return None
    value = value.detach()
    return torch.view_as_real(value.resolve_conj()) if value.is_complex() else value


def as_chunks(value: torch.Tensor) -> list[torch.Tensor]:
    return list(value.reshape(-1).split(CHUNK))


def is_inexact(value: torch.Tensor) -> bool:
    return value.is_floating_point()
