"""Sensitivity: how much each layer takes from the results when it, and no other, is quantized."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch.fx import GraphModule

from fxcompress.analysis.fidelity import decibels
from fxcompress.contract import Pass, PassContext, above, at_least, between, option, statistic, statistics_of
from fxcompress.passes.quantize import Quantize
from fxcompress.quantizing.grafting import Grafts
from fxcompress.quantizing.keeping import batches_of, scratch
from fxcompress.quantizing.ledger import Ledger, key_of
from fxcompress.quantizing.scores import ranking_of
from fxcompress.quantizing.sensitivity import Score, Yardstick, sensitivities
from fxcompress.text import plural


@dataclass(frozen=True)
class Sensitivity(Pass):
    """Measure how near the results stay when one weight alone is quantized, for each weight.

    The model is not changed. The options but `resume` are those of `quantize`. A copy is quantized as a whole. Then the
    batches of the calibration data run through the model, and for each weight again from its first layer on, with this
    weight and what is multiplied with it as they are in the copy. Where there is no calibration data, the example
    inputs serve, and a note says so. With `evaluate`, each such model is evaluated too.

    With `resume`, what is measured is written to that file about once a second, whole each time, and a run that was
    stopped goes on from there. The file is of one model, one set of options and one set of data; for others it is
    refused. (`evaluate` is a function: that it is still the same one, the file cannot tell.)

    Quantization by layer and its effect on the output, as a guide to mixed precision: Dong et al., HAWQ, 2019, who
    estimate by curvature what is measured here.

    `details`: `sensitivity` maps each weight, the most sensitive first, to the `sqnr_db` of the results, the `error` as
    a share of them, the `scheme`'s `bits`, and the `metric` that `evaluate` gives. `ranking` prints as a table of them.
    `whole` has the `sqnr_db` and the `metric` with all weights quantized, and in `sum_db` the SQNR if errors only added
    up.
    """

    name = "sensitivity"
    fidelity = "exact"
    scheme: Literal["w8a16", "w4a16", "w3a16", "w2a16", "w8a8", "w8a8-static", "bf16", "fp8", "pow2"] = option(
        "w8a16", help="bits of weights and activations"
    )
    schemes: tuple[str, ...] = option((), help="schemes of their own, as pattern:scheme")
    group: int | None = option(None, help="weights that share a scale, where the scheme has groups", check=at_least(2))
    granularity: Literal["tensor", "channel", "group"] | None = option(
        None, help="what shares a scale, in place of what the scheme says"
    )
    observer: Literal["minmax", "moving-average", "percentile", "mse", "entropy"] = option(
        "mse", help="what chooses static ranges of activations"
    )
    percent: float = option(99.999, help="share of the values that percentile keeps", check=between(50, 100))
    rounding: Literal["nearest", "gptq", "learned"] = option("nearest", help="how weights are rounded to integers")
    samples: int = option(16384, help="rows of a layer's inputs that gptq and learned look at", check=at_least(1))
    damping: float = option(0.01, help="ridge of gptq, as a share of the inputs' mean square", check=above(0))
    bias_correction: bool = option(False, help="take off biases what rounding weights adds to the means of outputs")
    targets: tuple[str, ...] = option((), help="modules, nodes or parameters to measure; all where none are given")
    ignore: tuple[str, ...] = option((), help="modules, nodes or parameters to leave alone")
    resume: str | None = option(None, help="a file to write scores to, and to go on from")
    measured = statistic("weights measured")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        batches, _ = batches_of(context)
        quantize = Quantize(
            **{field.name: getattr(self, field.name) for field in fields(self) if field.name != "resume"}
        )
        beside = scratch(context, batches, statistics_of(Quantize))
        whole = quantize.quantized(copy.deepcopy(module), beside, ())
        whole.recompile()
        for note in beside.notes:
            context.note(note)
        bits = {path: facts["bits"] for path, facts in beside.details["quantized"].items()}
        key = key_of(module, str(quantize), batches) if self.resume is not None else ""
        ledger = Ledger(None if self.resume is None else Path(self.resume), key)
        scores = sensitivities(Grafts(module, whole, bits), batches, context.resources.evaluate, ledger)
        self._tell(context, scores, bits)
        self._tell_whole(context, scores, whole, Yardstick(module, batches).sqnr_db(whole))
        return module

    def _tell(self, context: PassContext, scores: Sequence[Score], bits: dict[str, int]) -> None:
        judged = context.resources.evaluate is not None
        context.record(measured=len(scores))
        context.details["ranking"] = ranking_of(scores)
        context.details["sensitivity"] = {
            score.path: {"sqnr_db": score.sqnr_db, "error": score.noise**0.5, "bits": bits[score.path]}
            | ({"metric": score.metric} if judged else {})
            for score in scores
        }

    def _tell_whole(self, context: PassContext, scores: Sequence[Score], whole: GraphModule, sqnr_db: float) -> None:
        added = decibels(1.0, sum(score.noise for score in scores))
        found: dict[str, Any] = {"sqnr_db": sqnr_db, "sum_db": added}
        if context.resources.evaluate is not None:
            with torch.no_grad():
                found["metric"] = float(context.resources.evaluate(whole))
        context.details["whole"] = found
        context.note(
            f"all {plural(len(scores), 'weight')} quantized: {sqnr_db:.1f} dB; {added:.1f} dB if the errors of single "
            "weights only added up"
        )
