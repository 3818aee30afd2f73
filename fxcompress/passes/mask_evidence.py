"""What `mask` ranks weights by: their magnitudes, calibration data, or gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch.fx import GraphModule

from fxcompress.contract import PassContext
from fxcompress.pruning.choosing.activations import gradients_of
from fxcompress.sparsity.by_data import ByData, Masked, masked_by_data
from fxcompress.sparsity.choosing import Choice, behind, kept
from fxcompress.sparsity.rows import rows_of
from fxcompress.weights import Weight

if TYPE_CHECKING:
    from fxcompress.passes.mask import Mask

GRADIENTS = ("taylor", "movement")


class Evidence:
    """What is known of the weights of one run of the pass.

    Attributes:
        moved: for movement, by the path of a weight how far it moved away from zero: minus the sum of weight times
            gradient over the steps of training so far.
    """

    def __init__(self, options: Mask, module: GraphModule, context: PassContext) -> None:
        self.options, self.module, self.context = options, module, context
        self.moved: dict[str, torch.Tensor] = {}
        self.generator = context.generator()

    def look(self, weights: Sequence[Weight]) -> None:
        """See the gradients of a step of training."""
        if self.options.importance != "movement":
            return
        for weight in weights:
            if weight.tensor.grad is not None:
                score = -(weight.tensor.detach() * weight.tensor.grad)
                before = self.moved.get(weight.path)
                self.moved[weight.path] = score if before is None else before + score

    def scores(self, weights: Sequence[Weight]) -> list[torch.Tensor]:
        """Return for every weight its elements' scores, of its shape."""
        if self.options.importance == "random":
            return [torch.rand(one.tensor.shape, generator=self.generator, dtype=torch.float64) for one in weights]
        if self.options.importance == "movement":
            return [self.moved.get(one.path, torch.zeros_like(one.tensor)) for one in weights]
        magnitudes = [weight.tensor.detach().abs() for weight in weights]
        if self.options.importance == "magnitude":
            return magnitudes
        assert self.context.train is not None
        self.module.recompile()
        found = gradients_of(self.module, self.context.train, self.options.batches)
        pairs = zip(weights, magnitudes, strict=True)
        return [size * found[one.path].abs() if one.path in found else torch.zeros_like(size) for one, size in pairs]


def masked_at(
    evidence: Evidence, weights: Sequence[Weight], before: Mapping[str, torch.Tensor], choice: Choice | float
) -> list[Masked]:
    """Return what becomes of every weight.

    Args:
        before: rows of what is kept so far, by the path of the weight.
        choice: what goes; a number is a threshold of magnitudes.

    Raises:
        InputError: there is no calibration data where it is needed, or it does not fit.
    """
    options = evidence.options
    if isinstance(choice, float):
        return [Masked(rows_of(weight, weight.tensor.detach().abs() >= choice)) for weight in weights]
    if options.importance in ("wanda", "sparsegpt"):
        settings = ByData(options.importance, options.samples, options.damping)
        batches = list(evidence.context.calibration())
        evidence.module.recompile()
        return masked_by_data(evidence.module, weights, before, batches, choice, settings, evidence.context)
    rows = [rows_of(weight, scores) for weight, scores in zip(weights, evidence.scores(weights), strict=True)]
    some = [behind(one, before[weight.path], choice.pattern) for weight, one in zip(weights, rows, strict=True)]
    return [Masked(keep) for keep in kept(some, choice)]
