"""Accuracy against multiply-accumulates left: ours and the peer's, on the same network, with the same tuning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

import fxcompress as fxc
from fxcompress.demo.digits import accuracy
from pruning.counting import macs, parameters
from pruning.peer import pruned_copy, ratios_for
from pruning.results import Row
from pruning.spread import DENSE, OURS, PEER
from pruning.subjects import Subject
from pruning.training import trained


@dataclass(frozen=True)
class Plan:
    """What is tried on every network.

    Attributes:
        shares: of the multiply-accumulates that may be left.
        scopes: local, global.
        importances: our criteria; the peer has one.
        calibration: images for `reconstruct`; 0 leaves it out.
        epochs: of tuning.
        step: between the ratios that the peer is tried with.
    """

    shares: Sequence[float]
    scopes: Sequence[str]
    importances: Sequence[str]
    calibration: int
    epochs: int
    step: float


def compare(subject: Subject, plan: Plan, seed: int) -> Iterator[Row]:
    """Yield a row for every scope, share and tool.

    The peer comes first, and what it leaves is what ours may leave, so that ours never has more to compute with.
    """
    captured = fxc.capture(subject.network, (subject.image,))
    for scope in plan.scopes:
        ratios = ratios_for(subject.network, subject.image, subject.head, scope, plan.shares, plan.step)
        for share in plan.shares:
            common = {"subject": subject.name, "scope": scope, "share": share, "seed": seed}
            peer = pruned_copy(subject.network, subject.image, ratios[share], subject.head, scope)
            row = measured(peer, subject, plan, seed)
            yield {**common, "tool": PEER, "importance": "MagnitudeImportance(p=2)", "ratio": ratios[share], **row}
            for importance in plan.importances:
                ours = OurSide(subject, captured, scope, importance, row["macs"])
                yield {**common, "tool": OURS, "importance": importance, **ours.row(plan, seed)}


def measured(network: nn.Module, subject: Subject, plan: Plan, seed: int) -> Row:
    """Return what is left of a pruned network, and its accuracy at once and after tuning."""
    tuned = trained(network, subject.seen, epochs=plan.epochs, rate=subject.rate, seed=seed)
    return {
        "macs": macs(network, subject.image) / macs(subject.network, subject.image),
        "parameters": parameters(network) / parameters(subject.network),
        "one_shot": accuracy(network, subject.unseen),
        "tuned": accuracy(tuned, subject.unseen),
    }


@dataclass(frozen=True)
class OurSide:
    """Our side of one comparison: as many multiply-accumulates as `share` of the network's."""

    subject: Subject
    captured: fxc.Captured
    scope: str
    importance: str
    share: float

    @property
    def pipeline(self) -> str:
        # A little above, as the share went through text.
        return f"prune{{macs={self.share + 1e-9:.9f} importance={self.importance} scope={self.scope} round_to=1}}"

    def row(self, plan: Plan, seed: int) -> Row:
        row = {
            "pipeline": self.pipeline,
            **measured(self.compressed(self.pipeline, plan, seed), self.subject, plan, seed),
        }
        if plan.calibration:
            fitted = measured(self.compressed(f"{self.pipeline},reconstruct", plan, seed), self.subject, plan, seed)
            row |= {"reconstructed": fitted["one_shot"], "reconstructed_tuned": fitted["tuned"]}
        return row

    def compressed(self, pipeline: str, plan: Plan, seed: int) -> nn.Module:
        batches = self.subject.calibration(plan.calibration, seed) if plan.calibration else None
        return fxc.compress(self.captured, None, pipeline, calibration=batches, seed=seed).module


def dense(subject: Subject, plan: Plan, seed: int) -> Row:
    """Return the row of the network as it is, tuned as the others are."""
    row = measured(subject.network, subject, plan, seed)
    return {"subject": subject.name, "scope": "", "share": 1.0, "seed": seed, "tool": DENSE, "importance": "", **row}
