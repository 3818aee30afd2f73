"""A student that learns from a teacher: what it is trained to make smaller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule

from fxcompress.capturing import Inputs, as_inputs
from fxcompress.contract import TrainingData
from fxcompress.distilling import features, predictions
from fxcompress.distilling.masking import check_mask, kept, tokens_of
from fxcompress.distilling.pairs import Pair
from fxcompress.distilling.projectors import projectors_for, same_space
from fxcompress.distilling.recipe import PREDICTIONS, PROJECTED, Recipe, Term
from fxcompress.distributed import WholeBatch, by_slices
from fxcompress.errors import PassFailed
from fxcompress.graph.module import CapturedModule
from fxcompress.teaching import Teacher, find_taps, tapped
from fxcompress.teaching.transforms import INDICES, TAIL, VALUES, with_tail

_PROJECTORS = "distillation_projectors"


@dataclass(frozen=True)
class Results:
    """The names of the results that are predictions: `output`, `output.logits`, `output|topk:8`."""

    student: str
    teacher: str


class Distillation:
    """The losses between a student and its teacher, for the loop of `finetune` or for another.

    Args:
        student: the graph that is to learn. It is not changed but by training `module`.
        teacher: answers for the results and for the places of `pairs`.
        recipe: losses, weights, temperature.
        pairs: whose features are compared.
        results: which results the predictions are; None where no loss reads them.
        data: for the loss of labels, and for what the student is given in place of the inputs.
        seed: of the projectors.

    Attributes:
        module: what is to be trained: it shares the tensors of `student`, gives what the student gives with the tapped
            values beside, and holds projectors where teacher and student differ in width. Drop it afterwards.
        last: the value of every loss in the batch before, by name, without its weight.
    """

    def __init__(
        self,
        student: CapturedModule,
        teacher: Teacher,
        recipe: Recipe,
        pairs: Sequence[Pair] = (),
        results: Results | None = None,
        data: TrainingData | None = None,
        seed: int = 0,
    ) -> None:
        self.teacher, self.recipe, self.pairs, self.results = teacher, recipe, tuple(pairs), results
        self.data = TrainingData(()) if data is None else data
        taps = [pair.student for pair in pairs] + ([] if results is None else [results.student])
        self.module = tapped(student, find_taps(student, taps))
        check_mask(student, recipe.mask)
        if recipe.uses(*PROJECTED):
            self.module.add_module(_PROJECTORS, projectors_for(pairs, seed))
        self.last: dict[str, float] = {}

    def loss(self, module: GraphModule, inputs: Inputs, targets: Any, done: float = 0.0) -> torch.Tensor:
        """Return the weighted sum of the losses of a batch.

        Args:
            module: `self.module`, or what wraps it.
            inputs: as the teacher sees them.
            targets: for the loss of labels; None where there are none.
            done: share of the training that is done, from 0 to 1.
        """
        original = as_inputs(inputs)
        given = self.data.seen_by_student(original)
        result, mine = given.call(module)
        theirs = self._asked(original, given, whole=isinstance(module, WholeBatch))
        tokens = tokens_of(self.module, given, self.recipe.mask)
        values = [self._term(term, result, mine, theirs, targets, tokens) for term in self.recipe.terms]
        rows = list(zip(self.recipe.terms, values, strict=True))
        self.last = {term.loss: float(value.detach()) for term, value in rows}
        return torch.stack([term.weight(done) * value for term, value in rows]).sum()

    @property
    def whole_batches(self) -> bool:
        """Whether some loss is no mean over samples, each of which is judged by itself; see `Objective`."""
        return self.recipe.mask is not None or self.recipe.uses("hint", "relational", "similarity")

    def _asked(self, inputs: Inputs, given: Inputs, *, whole: bool) -> dict[str, torch.Tensor]:
        """Return what the teacher answers, in its own precision, where the student is.

        Args:
            whole: each process is to ask about its slice of the batch only.
        """
        device = next((one.device for one in given.tensors()), torch.device("cpu"))
        self.teacher.follow(device)
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            answers = by_slices(self.teacher.answers, inputs) if whole else self.teacher.answers(inputs)
            return {name: value.to(device) for name, value in answers.items()}

    def _term(
        self,
        term: Term,
        result: Any,
        mine: dict[str, torch.Tensor],
        theirs: dict[str, torch.Tensor],
        targets: Any,
        tokens: torch.Tensor | None,
    ) -> torch.Tensor:
        if term.loss == "hard":
            return self._hard(result, targets)
        if term.loss in PREDICTIONS:
            return self._predicted(term.loss, mine, theirs, targets, tokens)
        values = [self._seen(term.loss, number, mine, theirs, tokens) for number in range(len(self.pairs))]
        return torch.stack(values).mean()

    def _hard(self, result: Any, targets: Any) -> torch.Tensor:
        if self.data.loss is None or targets is None:
            raise PassFailed(
                "the loss 'hard' needs labels", hint="give  fxc.TrainingData(batches, loss)  or leave hard out"
            )
        return self.data.loss(result, targets)

    def _predicted(
        self,
        loss: str,
        mine: dict[str, torch.Tensor],
        theirs: dict[str, torch.Tensor],
        targets: Any,
        tokens: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return a loss between predictions, in float32 whatever they were calculated in."""
        assert self.results is not None
        logits, temperature = kept(mine[self.results.student], tokens).float(), self.recipe.temperature
        if self.results.teacher.endswith(VALUES):
            top = self.results.teacher.removesuffix(VALUES)
            parts = {top + part: kept(theirs[top + part], tokens) for part in (VALUES, INDICES, TAIL)}
            return predictions.soft_top_targets(logits, *with_tail(parts, top, temperature), temperature)
        given = kept(theirs[self.results.teacher], tokens).float()
        if loss == "binary":
            return predictions.binary_targets(logits, given, temperature)
        if loss == "soft":
            return predictions.soft_targets(logits, given, temperature)
        return predictions.decoupled(logits, given, temperature, _labels(targets, logits), others=self.recipe.others)

    def _seen(
        self,
        loss: str,
        number: int,
        mine: dict[str, torch.Tensor],
        theirs: dict[str, torch.Tensor],
        tokens: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return a loss between what both see at one place."""
        pair = self.pairs[number]
        student, teacher = mine[pair.student], theirs[pair.teacher]
        if loss in PROJECTED:
            student = self.module.get_submodule(_PROJECTORS)[number](student)  # type: ignore[index]
            student, teacher = kept(student, tokens), kept(teacher, tokens)
        student, teacher = same_space(student.float(), teacher.float())
        found: torch.Tensor = getattr(features, loss)(student, teacher)
        return found


def _labels(targets: Any, logits: torch.Tensor) -> torch.Tensor | None:
    """Return targets that are a class for each row of logits, None for any others."""
    rows = predictions.rows_of_logits(logits).shape[0]
    if not isinstance(targets, torch.Tensor) or targets.is_floating_point() or targets.numel() != rows:
        return None
    return targets if bool((targets >= 0).all()) else None
