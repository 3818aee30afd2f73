"""Learning from a teacher what compression lost, with labels or without."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import Any

from torch.fx import GraphModule

from fxcompress.contract import PassContext, TrainingData, above, at_least, option
from fxcompress.distilling import Recipe, arrange
from fxcompress.distilling.recipe import Term
from fxcompress.errors import PassFailed, PipelineError, UsageError
from fxcompress.graph.module import CapturedModule
from fxcompress.passes.learning import Learning
from fxcompress.teaching import CachedTeacher


@dataclass(frozen=True)
class Distill(Learning):
    """Train the graph to give what a teacher gives: its predictions, and what it sees inside.

    The teacher is the model as it was before the first pass, another one, `fxc.compress(..., teacher=model)`, or with
    `teacher` a folder that `capture-teacher{sink=disk}` wrote, and then none has to run. It answers in evaluation mode
    and without gradients, and is in no state dict. Batches are those of `train`, whose targets only the loss `hard`
    reads; where there are none, the calibration batches, without labels.

    `losses` are added up, each with a weight, `soft:0.9`, which may change from the first step to the last,
    `hint:1..0`. Of predictions: `soft` (softened by `temperature`), `dkd` (the right class and the others apart),
    `binary` (a sigmoid for each class), `hard` (the loss of the training data). Of features: `hint` (squared
    difference), `cosine`, `attention` (where images are looked at), `relational` (distances and angles between
    samples), `similarity` (of samples to each other).

    `pairs` says which features: a module path, glob or node for both, or `student->teacher`, as taps of
    `capture-teacher` are written. Without it modules that follow one another are paired by path, then by shape and
    order. Where `hint` and `cosine` meet another number of channels, a projector learns with the student and is dropped
    at the end.

    `details`: `losses` has the mean loss of each epoch, `parts` those of the single losses in the last batch, `pairs`
    what was compared; `scores` and `best_epoch` are as of `finetune`.
    """

    name = "distill"
    fidelity = "lossy"
    masks = "seen"

    losses: tuple[str, ...] = option(("soft",), help="losses and their weights: soft:0.9,hard:0.1,hint:1..0")
    temperature: float = option(4.0, help="of soft targets", check=above(0))
    pairs: tuple[str, ...] = option((), help="whose features are compared: path, glob or student->teacher")
    others: float = option(8.0, help="weight of the classes that are not right in dkd", check=at_least(0))
    logits: str | None = option(None, help="the predictions: one of several results, or a place such as classifier")
    mask: str | None = option(None, help="input that is zero where a sequence is padding: attention_mask")
    teacher: str | None = option(
        None, help="folder of captured answers; the model before the passes where none is given"
    )

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        data = unlabelled(context) if context.train is None else context.train
        assert isinstance(module, CapturedModule)
        learning = arrange(module, self._teacher(context), self.recipe, data, context.seed)
        self.learn(module, context, data, learning, learning.module)
        context.details |= {"pairs": [str(pair) for pair in learning.pairs], "parts": dict(learning.last)}
        if learning.pairs:
            context.note(f"compared features of {', '.join(map(str, learning.pairs))}")
        return module

    @property
    def recipe(self) -> Recipe:
        """The options as what is to be learned."""
        terms = tuple(Term.parse(text) for text in self.losses)
        return Recipe(terms, self.pairs, self.temperature, self.others, self.logits, self.mask)

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            _ = self.recipe
        except UsageError as error:
            raise PipelineError(f"pass {self.name!r}: {error.message}", hint=error.hint) from None

    def what_decides(self) -> str:
        return f"{super().what_decides()} {self.recipe}"

    def _teacher(self, context: PassContext) -> Any:
        if self.teacher is not None:
            return CachedTeacher(self.teacher)
        given = context.resources.teacher
        return context.resources.before if given is None else given


def unlabelled(context: PassContext) -> TrainingData:
    """Return the calibration batches as training data without targets.

    Raises:
        PassFailed: there are none.
    """
    batches = context.resources.calibration
    if batches is None:
        raise PassFailed(
            "there is nothing to learn on",
            hint="give  fxc.compress(..., train=fxc.TrainingData(batches))  or calibration",
        )
    return TrainingData(_Counted(batches) if isinstance(batches, Sized) else _Unlabelled(batches))


class _Unlabelled:
    """Batches of inputs as pairs of inputs and None."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[tuple[Any, None]]:
        return ((inputs, None) for inputs in self.batches)


class _Counted(_Unlabelled):
    """The same, where their number is known."""

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]
