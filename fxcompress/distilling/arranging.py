"""From a student, a teacher and a recipe to what is trained: which results and which places of both go together."""

from __future__ import annotations

from typing import Any

from torch.fx import GraphModule

from fxcompress.contract import TrainingData
from fxcompress.distilling.distillation import Distillation, Results
from fxcompress.distilling.pairs import CachedSide, GraphSide, Pair, matched
from fxcompress.distilling.recipe import FEATURES, PREDICTIONS, Recipe
from fxcompress.errors import PassFailed
from fxcompress.graph.module import CapturedModule
from fxcompress.teaching import LiveTeacher, Teacher
from fxcompress.teaching.results import OUTPUT, result_nodes
from fxcompress.teaching.teacher import as_graph
from fxcompress.text import listing, suggestion


def arrange(
    student: CapturedModule, teacher: Any, recipe: Recipe, data: TrainingData | None = None, seed: int = 0
) -> Distillation:
    """Return the distillation of `teacher` into `student`: train its `module` with its `loss`.

    Args:
        student: the graph that learns; `fxc.capture(model, inputs).module`, or `fxc.compress(...).module`.
        teacher: a graph, what `fxc.capture` gave, or something that answers: a `LiveTeacher`, a `CachedTeacher`.
        recipe: what is to be learned.
        data: for the loss of labels, and for what the student is given in place of the inputs.
        seed: of the projectors.

    Raises:
        PassFailed: results or places do not go together; names what there is.
    """
    answers = hasattr(teacher, "answers")
    graph = None if answers else as_graph(teacher)
    side = CachedSide(teacher.shapes) if graph is None else GraphSide(graph)
    pairs = matched(GraphSide(student), side, recipe.pairs) if recipe.uses(*FEATURES) else ()
    results = None
    if recipe.uses(*PREDICTIONS):
        names = list(teacher.names) if graph is None else list(result_nodes(graph))
        mine = _prediction(list(result_nodes(student)), recipe.logits, "student")
        results = Results(mine, _same(mine, names, recipe.logits))
    answering = teacher if graph is None else _running(graph, pairs, results)
    return Distillation(student, answering, recipe, pairs, results, data, seed)


def _running(graph: GraphModule, pairs: tuple[Pair, ...], results: Results | None) -> Teacher:
    """Return a teacher that runs, and answers for what is compared."""
    taps = [pair.teacher for pair in pairs] + ([] if results is None else [results.teacher])
    return LiveTeacher(graph, taps or [OUTPUT])


def _same(mine: str, names: list[str], wanted: str | None) -> str:
    """Return the result of the teacher that goes with the result `mine` of the student."""
    whole = [name for name in names if name.split("|")[0] == mine]
    return whole[0] if whole else _prediction([name for name in names if name.startswith(OUTPUT)], wanted, "teacher")


def _prediction(names: list[str], wanted: str | None, whose: str) -> str:
    """Return the result that holds the predictions: the one that is wanted, the only one, or the logits."""
    for name in (f"{OUTPUT}.{wanted}" if wanted else OUTPUT, wanted, f"{OUTPUT}.logits"):
        if name in names:
            return name
    if len(names) == 1 and not wanted:
        return names[0]
    words = [name.removeprefix(f"{OUTPUT}.") for name in names]
    what = f"no result {wanted!r}" if wanted else f"{len(names)} results"
    raise PassFailed(
        f"the {whose} has {what}",
        hint=suggestion(wanted, words)
        if wanted
        else f"say which are the predictions: logits={words[0] if words else '...'} of {listing(words)}",
    )
