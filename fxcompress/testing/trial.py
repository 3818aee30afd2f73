"""One pass on one example: the runs that the rules look at."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from fxcompress.capturing import CaptureWarning, Inputs, as_inputs
from fxcompress.compiler import Model, Result, compress
from fxcompress.contract import Pass
from fxcompress.graph.module import CapturedModule
from fxcompress.pipeline import Pipeline, run
from fxcompress.pipeline.instruments import Statistics
from fxcompress.plugins import Plugins
from fxcompress.testing.data import digests, global_seed, results, shuffled, training_data
from fxcompress.testing.examples import Example

CALIBRATION_BATCHES = 4


@dataclass(frozen=True)
class Repeated:
    """What doing the same once more gave."""

    module: CapturedModule
    statistics: dict[str, float]


class Trial:
    """A pass, an example, and what is kept to find harm: the bits of the model and of the data before any run.

    Args:
        a_pass: the pass under test.
        example: its model is handed to the first run itself, not a copy of it.
        plugins: where the pass is registered.
        seed: of the runs.
    """

    def __init__(self, a_pass: Pass, example: Example, plugins: Plugins, seed: int) -> None:
        self.a_pass = a_pass
        self.example = example
        self.plugins = plugins
        self.seed = seed
        self.inputs = as_inputs(example.inputs)
        self.calibration = self._calibration()
        self.train = example.train or training_data(example.model, self.calibration)
        self.model_before = model_state(example.model)
        self.results_before = results(example.model, self.inputs)
        self.data_before = self.data_digests()

    def _calibration(self) -> list[Inputs]:
        if self.example.calibration is not None:
            return [as_inputs(batch) for batch in self.example.calibration]
        return [shuffled(self.inputs, self.seed + count) for count in range(CALIBRATION_BATCHES)]

    def data_digests(self) -> list[str]:
        """Return digests of what the runs are given beside the model."""
        batches = [(batch.args, batch.kwargs) for batch in (self.inputs, *self.calibration)]
        return digests((batches, self._own_targets()))

    def _own_targets(self) -> list[object]:
        return [] if self.example.train is not None else [targets for _, targets in self.train.batches]

    def run(self, a_pass: Pass, model: Model, *, diffs: bool = False) -> Result:
        """Run `a_pass` alone on `model`, verified.

        Raises:
            StepFailed: the pass failed, or does not verify.
        """
        inputs = self.inputs if isinstance(model, torch.nn.Module) else None
        with global_seed(1), warnings.catch_warnings():
            # That the batch size of the example is fixed is not the pass's doing.
            warnings.simplefilter("ignore", CaptureWarning)
            return compress(
                model,
                inputs,
                [a_pass],
                calibration=self.calibration,
                train=self.train,
                seed=self.seed,
                diffs=diffs,
                plugins=self.plugins,
            )

    def repeat(self, a_pass: Pass, *, noise: int = 1) -> Repeated:
        """Do once more what the first run did, unverified, with the global random numbers seeded by `noise`.

        Raises:
            StepFailed: the pass failed.
        """
        captured = self.result.captured
        resources = replace(self.result.resources, evaluate=None)
        with global_seed(noise):
            module = copy.deepcopy(captured.module)
            module, stages = run(Pipeline((a_pass,)), module, resources, [Statistics()], self.plugins)
        return Repeated(module, stages[0].statistics)

    @cached_property
    def result(self) -> Result:
        """The first run, on the example's model itself; the rules look at it and leave it as it is."""
        return self.run(self.a_pass, self.example.model, diffs=True)


def model_state(model: torch.nn.Module) -> dict[str, object]:
    """Return bits and flags of `model`: every tensor by its name, the mode of every module, what is trainable."""
    found: dict[str, object] = {f"the mode of {path!r}": module.training for path, module in model.named_modules()}
    for path, tensor in (*model.named_parameters(), *model.named_buffers()):
        found[path] = (digests(tensor), tensor.requires_grad, tensor.grad is None)
    return found
