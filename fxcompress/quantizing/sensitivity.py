"""How much of the error of a quantized model each layer brings: measured with this layer quantized and no other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from fxcompress.analysis.branches import run_branches
from fxcompress.analysis.fidelity import FidelitySums, decibels
from fxcompress.analysis.observe import buffers_restored
from fxcompress.calibration.run import checked
from fxcompress.capturing import Inputs
from fxcompress.distributed import deal, rank, together, totals, world
from fxcompress.errors import InputError
from fxcompress.quantizing.grafting import Grafts
from fxcompress.quantizing.ledger import Ledger

Evaluate = Callable[[torch.nn.Module], float]


@dataclass(frozen=True)
class Score:
    """What quantizing one layer, and no other, does to the results of the model.

    Attributes:
        path: of the weight.
        sqnr_db: of the results on all batches, as one long vector; infinite where nothing changes.
        noise: the power of the error, as a share of that of the results.
        metric: what the user's own measure gives; None where there is none.
    """

    path: str
    sqnr_db: float
    noise: float
    metric: float | None = None


def sensitivities(
    grafts: Grafts, batches: Sequence[Inputs], evaluate: Evaluate | None = None, ledger: Ledger | None = None
) -> list[Score]:
    """Return the score of every weight of `grafts`, the most sensitive first.

    Each batch runs once through the whole graph, and for every layer again from that layer on. What `ledger` holds
    already is not measured again. Where several processes share the work, the layers are dealt to them in turn.

    Raises:
        InputError: a batch does not fit the graph; the message begins with its number.
    """
    ledger = Ledger() if ledger is None else ledger
    variants = {path: grafts.alone(path) for path in grafts.weights}
    for index, batch in enumerate(batches):
        todo = {path: variant for path, variant in variants.items() if not ledger.has(path, index)}
        with together():
            _compare(grafts, index, batch, dict(list(todo.items())[rank() :: world()]), ledger)
        ledger.share()
    if evaluate is not None:
        _judge({path: one for path, one in variants.items() if path not in ledger.metrics}, evaluate, ledger)
    ledger.save()
    found = [_score(path, ledger, evaluate is not None) for path in variants]
    return sorted(found, key=lambda score: -score.noise)


def _compare(grafts: Grafts, index: int, batch: Inputs, variants: Mapping[str, GraphModule], ledger: Ledger) -> None:
    def compare(path: str, reference: object, value: object) -> None:
        sums = FidelitySums()
        sums.see(reference, value)
        ledger.add(path, index, sums.signal, sums.noise)

    if not variants:
        return
    try:
        run_branches(grafts.module, checked(grafts.module, batch), variants, compare)
    except InputError as error:
        raise InputError(f"calibration batch {index}: {error.message}", hint=error.hint) from error


def _judge(variants: Mapping[str, GraphModule], evaluate: Evaluate, ledger: Ledger) -> None:
    """Evaluate each of `variants`, one for each process at a time."""
    waiting = list(variants)
    while waiting:
        now, waiting = waiting[: world()], waiting[world() :]
        for path in now[rank() : rank() + 1]:
            with torch.no_grad():
                ledger.add_metric(path, float(evaluate(variants[path])))
        ledger.share()


def _score(path: str, ledger: Ledger, judged: bool) -> Score:
    signal, noise = ledger.total(path)
    share = math.inf if signal == 0 and noise > 0 else noise / signal if noise else 0.0
    return Score(path, decibels(signal, noise), share, ledger.metrics[path] if judged else None)


class Yardstick:
    """Measures how near other graphs come to what `module` gives for `batches`, which it is run on once.

    Raises:
        InputError: a batch does not fit the graph.
    """

    def __init__(self, module: GraphModule, batches: Sequence[Inputs]) -> None:
        share = deal(batches)
        with together():
            self.batches = [checked(module, batch) for batch in share]
        self.references = [self._results(module, batch) for batch in self.batches]

    def sqnr_db(self, other: GraphModule) -> float:
        """Return the signal-to-noise ratio, in decibels, of the results of `other` as one long vector."""
        sums = FidelitySums()
        for batch, reference in zip(self.batches, self.references, strict=True):
            sums.see(reference, self._results(other, batch))
        return decibels(*totals([sums.signal, sums.noise]))

    def rows(self) -> int:
        """Return how many rows the results have, all axes but the last, on all batches."""
        tensors = [one for one in pytree.tree_leaves(self.references) if isinstance(one, torch.Tensor) and one.dim()]
        (rows,) = totals([sum(one.numel() / max(one.shape[-1], 1) for one in tensors)])
        return int(rows)

    def _results(self, module: GraphModule, batch: Inputs) -> Any:
        with torch.no_grad(), buffers_restored(module):
            return batch.call(module)
