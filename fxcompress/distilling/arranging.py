"""From a student, a teacher and a recipe to what is trained: which results and which places of both go together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch.fx import GraphModule

from fxcompress.contract import TrainingData
from fxcompress.distilling.objective import Distillation, Results
from fxcompress.distilling.pairs import CachedSide, GraphSide, Pair, matched
from fxcompress.distilling.recipe import FEATURES, PREDICTIONS, Recipe, Term
from fxcompress.errors import PassFailed
from fxcompress.graph.module import CapturedModule
from fxcompress.teaching import LiveTeacher, Teacher, find_taps
from fxcompress.teaching.results import OUTPUT, result_nodes
from fxcompress.teaching.teacher import as_graph
from fxcompress.teaching.transforms import VALUES
from fxcompress.text import listing, suggestion


def distillation(
    student: CapturedModule,
    teacher: Any,
    losses: str = "soft",
    *,
    pairs: Sequence[str] = (),
    temperature: float = 4.0,
    others: float = 8.0,
    logits: str | None = None,
    mask: str | None = None,
    data: TrainingData | None = None,
    seed: int = 0,
) -> Distillation:
    """Return what the pass `distill` trains with, for a loop of one's own: train its `module` with its `loss`.

    Args:
        student: the graph that learns; `fxc.capture(model, inputs).module`, or `fxc.compress(...).module`.
        teacher: what `fxc.capture` gave, its module, a `fxc.LiveTeacher` or a `fxc.CachedTeacher`.
        losses, pairs, temperature, others, logits, mask: as the options of `distill`; losses with commas.
        data: for the loss of labels, and for what the student is given in place of the inputs.
        seed: of the projectors.

    Raises:
        PassFailed: results or places do not go together; names what there is.
        UsageError: there is no such loss.
    """
    terms = tuple(Term.parse(text.strip()) for text in losses.split(","))
    return arrange(student, teacher, Recipe(terms, tuple(pairs), temperature, others, logits, mask), data, seed)


def arrange(
    student: CapturedModule, teacher: Any, recipe: Recipe, data: TrainingData | None = None, seed: int = 0
) -> Distillation:
    """Return the distillation of `teacher` into `student` as `recipe` tells; the rest is as of `distillation`."""
    answers = hasattr(teacher, "answers")
    graph = None if answers else as_graph(teacher)
    side = CachedSide(teacher.shapes) if graph is None else GraphSide(graph)
    pairs = matched(GraphSide(student), side, recipe.pairs) if recipe.uses(*FEATURES) else ()
    results = None
    if recipe.uses(*PREDICTIONS):
        names = list(teacher.names) if graph is None else _named(graph, recipe.logits)
        mine = _prediction(_named(student, recipe.logits), recipe.logits, "student")
        results = Results(mine, _same(mine, names, recipe.logits))
        if results.teacher.endswith(VALUES):
            _check_largest(teacher, results.teacher, recipe)
    answering = teacher if graph is None else _running(graph, pairs, results)
    return Distillation(student, answering, recipe, pairs, results, data, seed)


def _named(module: GraphModule, wanted: str | None) -> list[str]:
    """Return the names of the results of a graph, and of what else `wanted` names."""
    results = list(result_nodes(module))
    if wanted is None or f"{OUTPUT}.{wanted}" in results or wanted in results:
        return results
    try:
        return results + [tap.name for tap in find_taps(module, [wanted])]
    except PassFailed:
        return results


def _check_largest(teacher: Any, name: str, recipe: Recipe) -> None:
    """Raise PassFailed where the largest logits and their tails are not enough, or are of another temperature."""
    for loss in PREDICTIONS:
        if loss != "soft" and recipe.uses(loss):
            raise PassFailed(
                f"the loss {loss!r} reads all logits, and of the teacher the largest were captured: {name}",
                hint="take soft, or capture the logits whole",
            )
    told = re.search(r"\|topk:\d+:([0-9.]+)", name)
    captured = float(told[1]) if told else teacher.temperature
    if captured != recipe.temperature:
        raise PassFailed(
            f"the tails of the captured logits are at temperature {captured:g}, not {recipe.temperature:g}",
            hint=f"distill{{temperature={captured:g}}}, or capture them anew",
        )


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
