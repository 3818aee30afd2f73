"""An instrument: how good the model is after every pass, so that a report shows what was lost and what was won back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch

from fxcompress.analysis.fidelity import FidelitySums
from fxcompress.capturing import Inputs, as_inputs
from fxcompress.contract import Resources
from fxcompress.graph.module import CapturedModule
from fxcompress.inspect import Standing
from fxcompress.pipeline.step import Step
from fxcompress.teaching.results import named_results, untapped
from fxcompress.training.randomness import own_state, restore_own, seeded

# Batches of data that the results of two models are compared on.
MOST_BATCHES = 8


class Trajectory:
    """Measures the model before the first pass and after each one that changed it.

    `evaluate` is called where the run has one. Results are compared on the first batches of the calibration data, else
    of the training data, else on the example inputs: with those of the original, and the places of the largest numbers
    with those of the teacher, which is the original where no other is given.
    """

    verified = True

    def __init__(self) -> None:
        self.last: Standing | None = None
        self.comparison: _Comparison | None = None

    @contextmanager
    def around(self, step: Step) -> Iterator[None]:
        resources = step.context.resources
        if self.comparison is None:
            self.comparison = _Comparison(resources, step.module)
        before = self.last or self._measured(step.module, resources, self.comparison)
        yield
        self.last = self._measured(step.module, resources, self.comparison) if step.changed else before
        step.standings = (before, self.last)

    @staticmethod
    def _measured(module: CapturedModule, resources: Resources, comparison: _Comparison) -> Standing:
        plain = untapped(module) if module.meta.get("taps") else module
        with torch.no_grad(), seeded(resources.seed):
            metric = None if resources.evaluate is None else float(resources.evaluate(plain))
            return comparison.standing(plain, metric)


class _Comparison:
    """The results of the original and of the teacher, which those of the model are compared with."""

    def __init__(self, resources: Resources, first: CapturedModule) -> None:
        self.pairs = comparison_inputs(resources)
        original = resources.before if isinstance(resources.before, CapturedModule) else first
        teacher = resources.teacher if isinstance(resources.teacher, CapturedModule) else original
        with torch.no_grad(), seeded(resources.seed):
            self.wanted = [seen.call(original) for _, seen in self.pairs]
            self.taught = self.wanted if teacher is original else [given.call(teacher) for given, _ in self.pairs]

    def standing(self, module: CapturedModule, metric: float | None) -> Standing:
        """Return how near the results of `module` are to those of the original and of the teacher."""
        sums, same, rows = FidelitySums(), 0, 0
        for (_, seen), wanted, taught in zip(self.pairs, self.wanted, self.taught, strict=True):
            result = seen.call(module)
            sums.see(wanted, result)
            found = agreeing(taught, result)
            same, rows = same + found[0], rows + found[1]
        near = sums.fidelity()
        return Standing(metric, near.sqnr_db, near.cosine, same / rows if rows else None)


def comparison_inputs(resources: Resources) -> list[tuple[Inputs, Inputs]]:
    """Return some inputs, as a teacher is given them and as the student is; no iterator that runs once is used up."""
    train = resources.train
    if resources.calibration is not None and restarts(resources.calibration):
        batches = [as_inputs(batch) for batch in first_of(resources.calibration, resources.seed)]
        return [(batch, batch) for batch in batches]
    if train is not None and restarts(train.batches):
        given = [as_inputs(inputs) for inputs, _ in first_of(train.batches, resources.seed)]
        return [(batch, train.seen_by_student(batch)) for batch in given]
    return [(resources.inputs, resources.inputs)]


def first_of(batches: Iterable[Any], seed: int) -> list[Any]:
    """Return the first batches, and leave all generators where they were."""
    state = own_state(batches)
    with seeded(seed):
        found = list(islice(iter(batches), MOST_BATCHES))
    restore_own(batches, state)
    return found


def restarts(batches: Iterable[Any]) -> bool:
    """Whether data can be gone through once more."""
    return isinstance(batches, Sized) or iter(batches) is not batches


def agreeing(taught: Any, result: Any) -> tuple[int, int]:
    """Return for how many rows of the predictions the largest number stands at the same place, and how many rows are.

    Predictions are the first floating tensor [rows, classes]; results without one have no rows.
    """
    wanted, found = predictions(taught), predictions(result)
    if wanted is None or found is None or wanted.shape != found.shape:
        return 0, 0
    return int((wanted.argmax(-1) == found.to(wanted.device).argmax(-1)).sum()), len(wanted)


def predictions(result: Any) -> torch.Tensor | None:
    """Return the first floating tensor of two dimensions among the results, None where there is none."""
    tensors = named_results(result).values()
    return next((one for one in tensors if one.is_floating_point() and one.dim() == 2 and one.shape[1] > 1), None)
