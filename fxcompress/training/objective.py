"""What a step of training makes smaller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.fx import GraphModule

from fxcompress.capturing import Inputs
from fxcompress.contract import TrainingData


class Objective(Protocol):
    """The loss of a batch, of the model as it is now.

    Where several processes share the work, each is asked for the loss of its slice of the batch, and the mean over the
    samples is taken. That of an objective with an attribute `whole_batches` that is true, because it compares samples,
    or divides by something other than their number, is asked for whole batches, with a `WholeBatch` as the module.
    """

    def loss(self, module: GraphModule, inputs: Inputs, targets: Any, done: float) -> torch.Tensor:
        """Return the mean loss of the samples of a batch, a scalar that has a gradient.

        Args:
            module: the model in training.
            inputs: of the batch, as the training data gives them.
            targets: of the batch; None where there are none.
            done: share of the training that is done, from 0 to 1.
        """


@dataclass(frozen=True)
class Supervised:
    """The loss of the data, of outputs and targets alone."""

    data: TrainingData

    def loss(self, module: GraphModule, inputs: Inputs, targets: Any, done: float) -> torch.Tensor:
        return self.data.loss_of(module, inputs, targets)
