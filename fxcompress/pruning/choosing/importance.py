"""How much each slot of a group matters: the criteria that `prune` ranks by."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from fxcompress.errors import UsageError
from fxcompress.pruning.choosing.evidence import CONSUMER, PRODUCER, SCALE, SHIFT, Evidence, Slices

Score = Callable[[Evidence], torch.Tensor]


@dataclass(frozen=True)
class Importance:
    """A criterion: what it is called, how it scores the slots of a group, and what it needs to know.

    Attributes:
        score: from the evidence for one group to [slots] numbers, the least important smallest.
        needs: "activations" (calibration data) or "gradients" (training data), None for weights alone.
        help: a sentence for the manual.
    """

    name: str
    score: Score
    needs: str | None
    help: str


class RegisterImportance(Protocol):
    """What the hook `register_importances` is given."""

    def __call__(self, name: str, score: Score, needs: str | None = None) -> None: ...


NEEDS = ("activations", "gradients")


def checked_importance(name: str, score: Score, needs: str | None = None) -> Importance:
    """Return a plugin's criterion.

    Raises:
        UsageError: the name is no word in kebab case, the score no function, or the need unknown.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise UsageError(f"importance {name!r} has no name in kebab case", hint="as in  median-distance")
    if not callable(score):
        raise UsageError(f"the score of importance {name!r} is {score!r}", hint="give a function that takes Evidence")
    if needs is not None and needs not in NEEDS:
        raise UsageError(f"importance {name!r} needs {needs!r}", hint=f"one of {', '.join(NEEDS)}, or None")
    return Importance(name, score, needs, (score.__doc__ or "").strip())


IMPORTANCES: dict[str, Importance] = {}


def importance(name: str, needs: str | None = None) -> Callable[[Score], Score]:
    """Register a function as the criterion `name`; its docstring is the manual."""

    def register(score: Score) -> Score:
        IMPORTANCES[name] = Importance(name, score, needs, (score.__doc__ or "").strip())
        return score

    return register


def _weights(evidence: Evidence) -> Sequence[Slices]:
    """Return the rows that compute the slots; where there are none, all that carries them."""
    return evidence.of(PRODUCER) or evidence.of(CONSUMER) or evidence.slices


def _norms(rows: Sequence[Slices], power: float) -> torch.Tensor:
    """Return [slots]: the sum over all elements of |w| ** power."""
    return torch.stack([one.powers(power) for one in rows]).sum(0)


@importance("l1")
def l1(evidence: Evidence) -> torch.Tensor:
    """Sum of the magnitudes of the weights that compute the slot (Li et al., 2017)."""
    return _norms(_weights(evidence), 1)


@importance("l2")
def l2(evidence: Evidence) -> torch.Tensor:
    """Euclidean norm of the weights that compute the slot."""
    return _norms(_weights(evidence), 2).sqrt()


@importance("group-norm")
def group_norm(evidence: Evidence) -> torch.Tensor:
    """Sum of squares of all weights that the slot takes with it, of producers and consumers (Fang et al., 2023)."""
    return _norms(evidence.of(PRODUCER, CONSUMER, SCALE) or evidence.slices, 2)


@importance("bn-scale")
def bn_scale(evidence: Evidence) -> torch.Tensor:
    """Magnitude of the norm layers' scales of the slot (Liu et al., 2017); the l2 norm where there is none."""
    scales = evidence.of(SCALE)
    return _norms(scales, 1) if scales else l2(evidence)


@importance("activation", needs="activations")
def activation(evidence: Evidence) -> torch.Tensor:
    """Mean magnitude of what flows from the slot into the weights that read it, on calibration data."""
    seen = [one.magnitude for one in evidence.slices if one.magnitude is not None]
    return torch.stack(seen).mean(0) if seen else l2(evidence)


@importance("wanda", needs="activations")
def wanda(evidence: Evidence) -> torch.Tensor:
    """Weights that read the slot times the norm of what flows into them (after Sun et al., 2024)."""
    seen = [one for one in evidence.slices if one.energy is not None]
    if not seen:
        return l2(evidence)
    rows = [one.powers(1) * one.energy for one in seen if one.energy is not None]
    return torch.stack(rows).sum(0)


@importance("taylor", needs="gradients")
def taylor(evidence: Evidence) -> torch.Tensor:
    """First-order change of the loss where the slot is set to zero (Molchanov et al., 2019)."""
    gates = [one for one in evidence.of(SCALE, SHIFT) if one.gradient is not None]
    rows = [one for one in evidence.of(PRODUCER) if one.gradient is not None]
    chosen = gates if any(one.kind == SCALE for one in gates) else rows + gates
    if not chosen:
        return l2(evidence)
    changes = [(one.weight * one.gradient).double().sum(1) for one in chosen if one.gradient is not None]
    return torch.stack(changes).sum(0).abs()


@importance("fpgm")
def fpgm(evidence: Evidence) -> torch.Tensor:
    """Sum of the distances to the other slots: what lies near the geometric median is redundant (He et al., 2019)."""
    rows = torch.cat([one.weight.double() for one in _weights(evidence)], 1)
    return torch.cdist(rows, rows).sum(1)


@importance("lamp")
def lamp(evidence: Evidence) -> torch.Tensor:
    """Squared norm over that of all slots at least as large, which compares across layers (Lee et al., 2021)."""
    norms = _norms(_weights(evidence), 2)
    order = norms.argsort(descending=True)
    ranked = norms[order]
    scores = torch.empty_like(norms)
    scores[order] = ranked / ranked.cumsum(0).clamp_min(torch.finfo(torch.float64).tiny)
    return scores


@importance("random")
def random(evidence: Evidence) -> torch.Tensor:
    """A random order, from the seed of the run."""
    return torch.rand(evidence.slots, generator=evidence.generator, dtype=torch.float64)
