"""Which layers keep more precision: the most sensitive ones, as many as were asked for or as the results need."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from torch.fx import GraphModule

from fxcompress.analysis.fidelity import decibels
from fxcompress.capturing import Inputs
from fxcompress.contract import PassContext
from fxcompress.errors import PassFailed
from fxcompress.quantizing.fewer import fewer
from fxcompress.quantizing.grafting import Grafts
from fxcompress.quantizing.scores import ranking_of
from fxcompress.quantizing.sensitivity import Score, Yardstick, sensitivities
from fxcompress.text import listing, plural

# Quantizes the module it is given; the weights under the paths that are named last get the fallback.
Quantizes = Callable[[GraphModule, PassContext, Collection[str]], GraphModule]

# Rows of results that single weights are compared by: tokens of a transformer, images of a classifier. Each stands for
# as many numbers as it has classes or features; more would not change the order of the weights by much.
ROWS_TO_TELL_BY = 256
_LESS = "ask for less, or choose a scheme with more bits"


@dataclass(frozen=True)
class Wish:
    """What is asked for: at least `keep` layers kept, and results of at least `sqnr_db` decibels.

    Attributes:
        fallback: the scheme of what is kept; None for floats.
    """

    keep: int
    sqnr_db: float | None
    fallback: str | None

    @property
    def kept_in(self) -> str:
        """What is kept, in words."""
        return "in floats" if self.fallback is None else f"in {self.fallback}"


def quantize_but_worst(quantize: Quantizes, module: GraphModule, context: PassContext, wish: Wish) -> GraphModule:
    """Return `module` quantized but for the most sensitive weights, as few as `wish` allows; tell which, and why.

    The whole model is quantized once. Every weight gets its score of that, then the number of weights kept is searched
    for with graphs that take their layers from there. What comes out is quantized anew, and measured.

    Raises:
        PassFailed: no weight can be quantized so that the results are as near as asked for.
    """
    batches, seen = batches_of(context)
    whole, found = _run(quantize, copy.deepcopy(module), context, batches, ())
    if not found.details["quantized"]:
        return _taken(whole, found, context)
    fallback = None
    if wish.fallback is not None:
        fallback, _ = _run(quantize, copy.deepcopy(module), context, batches, found.details["quantized"])
    grafts, yardstick = Grafts(module, whole, found.details["quantized"], fallback), Yardstick(module, batches)
    all_of_it = yardstick.sqnr_db(whole)
    scores = sensitivities(grafts, _telling(module, batches, yardstick.rows(), context))
    order, kept = [score.path for score in scores], min(wish.keep, len(scores))

    def measured(count: int) -> float:
        return yardstick.sqnr_db(grafts.variant(order[count:])) if count else all_of_it

    if wish.sqnr_db is not None:
        kept = fewest_kept(scores, measured, wish, kept)
    while True:
        if kept:
            made, found = _run(quantize, copy.deepcopy(module), context, batches, order[:kept])
        else:
            made = whole
        reached = yardstick.sqnr_db(made) if kept else all_of_it
        # What is rounded with an eye on other layers may come out otherwise than in the graphs of the search.
        if wish.sqnr_db is None or reached >= wish.sqnr_db or kept == len(order):
            break
        kept += 1
    if wish.sqnr_db is not None and reached < wish.sqnr_db:
        raise PassFailed(f"even with all weights {wish.kept_in} the results have {reached:.1f} dB", hint=_LESS)
    _tell(context, scores, kept, reached, wish)
    context.note(_told(order[:kept], len(order), reached, all_of_it, seen, wish))
    return _taken(made, found, context)


def _telling(module: GraphModule, batches: Sequence[Inputs], rows: int, context: PassContext) -> Sequence[Inputs]:
    """Return as much of the data as it takes to tell layers apart, where all of it gives so many rows of results."""
    if rows <= ROWS_TO_TELL_BY:
        return batches
    found = fewer(module, batches, ROWS_TO_TELL_BY / rows)
    context.note(f"single weights are measured on {ROWS_TO_TELL_BY / rows:.0%} of the data, whole models on all of it")
    return found


def _tell(context: PassContext, scores: Sequence[Score], kept: int, reached: float, wish: Wish) -> None:
    spared = [score.path for score in scores[:kept]]
    context.details["kept"] = spared
    context.details["sqnr_db"] = reached
    context.details["sensitivity"] = {score.path: score.sqnr_db for score in scores}
    context.details["ranking"] = ranking_of(scores, spared, wish.kept_in)


def batches_of(context: PassContext) -> tuple[list[Inputs], str]:
    """Return the calibration batches, the example inputs where there are none, and what they are called."""
    if context.resources.calibration is not None:
        return list(context.calibration()), "the calibration data"
    context.note("no calibration data: sensitivity is measured on the example inputs")
    return [context.inputs], "the example inputs"


def scratch(context: PassContext, batches: Sequence[Inputs], declared: Collection[str]) -> PassContext:
    """Return a context like `context` that tells nobody, for runs beside the one that counts.

    Args:
        batches: the calibration data, read.
        declared: the statistics that may be recorded.
    """
    calibration = None if context.resources.calibration is None else batches
    return PassContext(replace(context.resources, calibration=calibration), tuple(declared))


def fewest_kept(scores: Sequence[Score], measure: Callable[[int], float], wish: Wish, least: int) -> int:
    """Return the smallest number of weights, at least `least`, without which the rest reaches what is asked for.

    The errors of layers nearly add up, so that the search begins where their sum allows, if keeping the least is not
    enough; then it measures, first in growing steps, then by halves. It takes for granted that keeping one more brings
    the results nearer.

    Args:
        scores: the most sensitive first.
        measure: what the results have, in decibels, with so many of these kept.

    Raises:
        PassFailed: it takes all of them, or they do not suffice.
    """
    floor = -math.inf if wish.sqnr_db is None else wish.sqnr_db
    below, enough = least, len(scores)
    if below < enough and measure(below) >= floor:
        return below
    place, step, seen = _predicted(scores, floor), 1, set[bool]()
    while enough - below > 1:
        place = min(max(place, below + 1), enough - 1)
        good = measure(place) >= floor
        below, enough = (below, place) if good else (place, enough)
        seen.add(good)
        place, step = ((below + enough) // 2 if len(seen) == 2 else place - step if good else place + step), 2 * step
    if enough < len(scores) or least == len(scores):
        return enough
    if wish.fallback is None:
        least_lost = scores[-1]
        why = f"no layer can be quantized: with {least_lost.path} alone the results have {least_lost.sqnr_db:.1f} dB"
    else:
        reached = measure(enough)
        if reached >= floor:
            return enough
        why = f"even with all weights {wish.kept_in} the results have {reached:.1f} dB"
    raise PassFailed(f"{why}, and min-sqnr asks for {floor:g}", hint=_LESS)


def _predicted(scores: Sequence[Score], floor: float) -> int:
    """Return how many have to be kept if the errors of the others add up."""
    noise = 0.0
    for count in range(len(scores), 0, -1):
        noise += scores[count - 1].noise
        if decibels(1.0, noise) < floor:
            return count
    return 0


def _run(
    quantize: Quantizes, module: GraphModule, context: PassContext, batches: Sequence[Inputs], kept: Collection[str]
) -> tuple[GraphModule, PassContext]:
    found = scratch(context, batches, context.declared)
    made = quantize(module, found, kept)
    made.recompile()
    return made, found


def _taken(made: GraphModule, found: PassContext, context: PassContext) -> GraphModule:
    """Tell `context` what the run that counts has told, and return what it made."""
    context.record(**found.statistics)
    context.details.update(found.details)
    for note in found.notes:
        context.note(note)
    return made


def _told(kept: Sequence[str], count: int, reached: float, all_of_it: float, seen: str, wish: Wish) -> str:
    if not kept:
        return f"all {plural(count, 'weight')} quantized: {reached:.1f} dB on {seen}"
    return (
        f"{listing(kept)}: left {wish.kept_in}, the most sensitive of {plural(count, 'weight')}; results have "
        f"{reached:.1f} dB on {seen}, {all_of_it:.1f} dB with all quantized"
    )
