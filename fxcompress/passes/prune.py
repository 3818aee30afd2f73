"""Structured pruning."""
from __future__ import annotations

from dataclasses import dataclass
import numpy as np
import torch
from torch.fx import GraphModule

from fxcompress.analysis.axes.analyse import analyse
from fxcompress.analysis.axes.groups import Kept, groups_of
from fxcompress.analysis.axes.zeros import inexact
from fxcompress.contract import Pass, PassContext, option, between, statistic
from fxcompress.pruning.candidates import candidates
from fxcompress.pruning.evidence import slices_of
from fxcompress.pruning.rewrite import remove


@dataclass(frozen=True)
class Prune(Pass):
    """Remove neurons."""
    name = "prune"
    fidelity = "lossy"
    ratio: float = option(0.5, help="share of slots", check=between(0, 1))
    exact: bool = option(False, help="exact")
    round_to: int = option(8, help="multiple")
    removed = statistic("slots")

    def apply(self, module: GraphModule, context: PassContext) -> GraphModule:
        axes = analyse(module)
        bad = inexact(axes)
        groups = [g for g in groups_of(axes) if not self.exact or id(g.leaf) not in bad]
        masks = {}
        for g in candidates(groups):
            n = int(round(self.ratio * g.size))
            keep = g.size - n
            if self.round_to > 1 and g.size >= 2 * self.round_to:
                keep = max(self.round_to, round(keep / self.round_to) * self.round_to)
            keep = max(1, keep)
            score = sum(s.weight.double().square().sum(1) for s in slices_of(module, axes, g))
            if keep < g.size:
                m = np.zeros(g.size, bool)
                m[torch.topk(score, keep).indices.numpy()] = True
                masks[id(g.leaf)] = m
        kept = Kept(masks)
        plan = remove(module, axes, kept)
        removed = {}
        for name, dims in plan.items():
            v = dict(zip(axes.stored, axes.stored.values()))
        context.details["plan"] = plan
        shapes = {n: t for n, t in axes.stored.items()}
        context.details["groups"] = len(masks)
        context.details["inexact"] = {g.name: str(bad[id(g.leaf)].text) for g in groups_of(axes) if id(g.leaf) in bad and g.free}
        return module
