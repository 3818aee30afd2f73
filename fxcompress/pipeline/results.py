"""Whether the results of the example inputs are what a pass promised."""

from __future__ import annotations

from typing import Any

import torch

from fxcompress.errors import VerificationFailed
from fxcompress.pipeline.trace import Trace, origin_of_deviation

# Allowed difference of a result, as a share of its largest magnitude, for passes that promise the same results.
EXACT_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 5e-2}
CLOSE_TOLERANCE = 5e-2
# Where activations are rounded, a hair's difference puts one of thousands a step off, and what follows carries it on:
# on MiniLM with static ranges the same arithmetic in another order is 10% off in the root mean square. So results that
# are off by more than the tolerance may be off by this much all in all, and this much in a single number.
ROUNDED_TOLERANCE, SINGLE_TOLERANCE = 1.25e-1, 2e-1

# Nodes count as deviating beyond this share of their magnitude where the results tell no tolerance.
SMALLEST_DEVIATION = 1e-6


def check_results(before: Trace, after: Trace, fidelity: str) -> float:
    """Return the largest absolute difference of the results; those that a pass added stand behind and do not count.

    Raises:
        VerificationFailed: a result is not finite where it was, or differs by more than `fidelity` allows.
    """
    pairs = zip(before.results, after.results, strict=False)
    return max((check_result(before, after, index, *pair, fidelity) for index, pair in enumerate(pairs)), default=0.0)


def check_result(before: Trace, after: Trace, index: int, want: Any, got: Any, fidelity: str) -> float:
    """Return the largest absolute difference of one result, 0 where it is no tensor."""
    name = after.result_name(index)
    if not isinstance(want, torch.Tensor):
        if fidelity == "exact" and want != got:
            raise VerificationFailed(f"{name} was {want!r} and is {got!r}")
        return 0.0
    if want.numel() == 0:
        return 0.0
    if bool((torch.isfinite(want) & ~torch.isfinite(got)).any()):
        node = origin_of_deviation(before, after, index, SMALLEST_DEVIATION)
        raise VerificationFailed(f"{name} is not finite any more", node)
    difference, allowed = compared(want, got, fidelity)
    if difference > allowed:
        node = origin_of_deviation(before, after, index, max(allowed / magnitude(want) / 10, SMALLEST_DEVIATION))
        raise VerificationFailed(f"{name} differs by {difference:.1e}, while {fidelity!r} allows {allowed:.1e}", node)
    return difference


def compared(want: torch.Tensor, got: torch.Tensor, fidelity: str) -> tuple[float, float]:
    """Return the largest absolute difference of two tensors, and what `fidelity` allows."""
    difference = float((finite(want) - finite(got)).abs().max())
    if fidelity == "lossy":
        return difference, float("inf")
    if fidelity == "exact":
        return difference, EXACT_TOLERANCE.get(want.dtype, 0.0) * magnitude(want)
    spread = root_mean_square(finite(want) - finite(got)) <= ROUNDED_TOLERANCE * root_mean_square(finite(want))
    return difference, (SINGLE_TOLERANCE if spread else CLOSE_TOLERANCE) * magnitude(want)


def root_mean_square(tensor: torch.Tensor) -> float:
    return float(tensor.square().mean().sqrt())


def magnitude(tensor: torch.Tensor) -> float:
    """Return the largest magnitude of a tensor's finite values, never 0."""
    return max(float(finite(tensor).abs().max()), 1e-12)


def finite(tensor: torch.Tensor) -> torch.Tensor:
    """Return `tensor` in float64 (complex as pairs), what is not finite set to 0."""
    parts = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return torch.nan_to_num(parts.double(), nan=0.0, posinf=0.0, neginf=0.0)
