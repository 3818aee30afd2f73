"""The pass `lowrank`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.fx import GraphModule

import fxcompress as fxc
from fxcompress.text import listing
from fxcompress_lowrank.calibration import gram_matrices
from fxcompress_lowrank.factors import Decomposition, decompose
from fxcompress_lowrank.layers import Matrix, matrices, split


@dataclass(frozen=True)
class LowRank(fxc.Pass):
    """Replace linears and 1x1 convolutions by two thinner ones, by singular value decomposition.

    A weight of m rows and n columns becomes one of r rows and n columns, followed by one of m rows and r columns. The
    rank r is the largest with which the two have at most the share `ratio` of the parameters, or the smallest that
    keeps the share `energy` of the squared singular values. A layer whose factors would not be smaller is left alone,
    and a note says so.

    With `calibrated=true` the decomposition is the best for the activations of the calibration data, and `energy` is
    that of the layer's results (Wang et al., SVD-LLM, 2024).

    `details` holds for every weight that was split its rank (`rank`) and the share of energy that is kept (`energy`).
    """

    name = "lowrank"
    fidelity = "lossy"
    ratio: float = fxc.option(0.5, help="share of a layer's parameters that is kept at most", check=fxc.between(0, 1))
    energy: float | None = fxc.option(
        None, help="share of the squared singular values to keep instead", check=fxc.between(0, 1)
    )
    calibrated: bool = fxc.option(False, help="decompose for the activations of the calibration data")
    min_rank: int = fxc.option(1, help="the smallest rank", check=fxc.at_least(1))
    round_to: int = fxc.option(1, help="ranks are multiples of this, rounded up", check=fxc.at_least(1))
    targets: tuple[str, ...] = fxc.option((), help="modules, nodes or parameters to split; all where none are given")
    ignore: tuple[str, ...] = fxc.option((), help="modules, nodes or parameters to leave alone")

    factorized = fxc.statistic("weights replaced by two factors")
    kept = fxc.statistic("linears and convolutions that stay as they are")
    parameters = fxc.statistic("parameters fewer than before")

    def apply(self, module: GraphModule, context: fxc.PassContext) -> GraphModule:
        found, left_out = matrices(module, context.select(module, self.targets, self.ignore))
        if self.targets and not found:
            why = "; ".join(left_out) or "no linear and no convolution"
            raise fxc.PassFailed(f"nothing in {', '.join(self.targets)} can be split: {why}")
        for reason, nodes in left_out.items():
            names = listing([f"%{node.name}" for node in nodes])
            leave(context, len(nodes), f"{names} left alone: {reason}")
        grams = gram_matrices(module, found, context.calibration()) if self.calibrated else {}
        for matrix in found:
            self._shrink(module, context, matrix, grams)
        return module

    def _shrink(
        self, module: GraphModule, context: fxc.PassContext, matrix: Matrix, grams: Mapping[str, torch.Tensor]
    ) -> None:
        """Split one weight, or leave it alone and say so."""
        decomposition = decompose(matrix.tensor.flatten(1), grams.get(matrix.path))
        rank = self._rank(matrix, decomposition)
        before, after = matrix.tensor.numel(), matrix.size(rank)
        if after >= before:
            text = f"{matrix.path} left alone: two factors of rank {rank} have {after:,} parameters, it has {before:,}"
            leave(context, len(matrix.readers), text)
            return
        split(module, matrix, *decomposition.factors(rank))
        context.record(factorized=1, parameters=before - after)
        context.details.setdefault("rank", {})[matrix.path] = rank
        context.details.setdefault("energy", {})[matrix.path] = decomposition.kept(rank)

    def _rank(self, matrix: Matrix, decomposition: Decomposition) -> int:
        """Return the rank for a weight: by energy or by ratio, then rounded, and no more than the weight can have."""
        if self.energy is not None:
            rank = decomposition.rank_for(self.energy)
        else:
            rank = int(self.ratio * matrix.tensor.numel() / (matrix.rows + matrix.columns))
        rank = max(rank, self.min_rank)
        return min(-(-rank // self.round_to) * self.round_to, matrix.rows, matrix.columns)


def leave(context: fxc.PassContext, layers: int, text: str) -> None:
    """Count layers that stay, and say why."""
    context.record(kept=layers)
    context.note(text)
