"""What has to hold of a random network: pruned is what it gives with zeros, and permuting slots changes nothing."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.fx import Interpreter, Node

import fxcompress as fxc
from fxcompress.analysis.axes.analyse import analyse
from fxcompress.analysis.axes.apart import Outer
from fxcompress.analysis.axes.groups import Group, Kept, groups_of
from fxcompress.analysis.axes.zeros import inexact
from fxcompress.graph.tensors import attribute
from fxcompress.pruning.choosing.candidates import apart
from fxcompress.pruning.removing.places import Plan
from fxcompress.pruning.removing.rewrite import remove

TOLERANCE = 1e-10


@dataclass(frozen=True)
class Outcome:
    """How many groups of a network are free, how many of them exact, and the two errors, relative to the results.

    Attributes:
        apart: how many of the exact ones lost other slots in each place.
    """

    groups: int
    exact: int
    error: float
    permuted: float
    apart: int = 0

    @property
    def holds(self) -> bool:
        return self.error < TOLERANCE and self.permuted < TOLERANCE


def checked(model: nn.Module, given: torch.Tensor, seed: int) -> Outcome:
    """Prune random slots of every group that is free and exact, and permute those of every free group."""
    captured = fxc.capture(model, (given,), dynamic="batch" if seed % 2 else "none")
    axes = analyse(captured.module)
    wrong = inexact(axes)
    free = [group for group in groups_of(axes) if group.free]
    exact = [group for group in free if not any(id(leaf) in wrong for leaf in group.leaves)]
    permuted = _permuted(captured, free, given, seed)
    kept = random_kept(exact, apart(axes, exact, wrong), seed)
    plan = remove(captured.module, axes, kept)
    with torch.no_grad():
        expected, found = masked(model, plan)(given), Predicted(captured.module).run(given)
    return Outcome(len(free), len(exact), distance(expected, found), permuted, len(kept.outer))


class Predicted(Interpreter):
    """Runs a pruned graph; what a node gives must have the sizes that pruning has predicted of it."""

    def run_node(self, n: Node) -> Any:
        made = super().run_node(n)
        row = made if isinstance(made, list | tuple) else [made]
        for sizes, one in zip(n.meta.get("predicted", ()), row, strict=False):
            for size, found in zip(sizes or (), one.shape if isinstance(one, torch.Tensor) else (), strict=True):
                assert size in (None, found), f"{n.format_node()}: {list(one.shape)}, and {sizes} was predicted"
        return made


def random_kept(groups: list[Group], outers: dict[int, Outer], seed: int) -> Kept:
    """Return which slots of most groups stay, at least one; of those in `outers` other ones in each place."""
    generator = np.random.default_rng(seed)
    masks: dict[int, np.ndarray] = {}
    outer = {}
    for group in groups:
        mask = np.zeros(group.size, bool)
        mask[generator.permutation(group.size)[: generator.integers(1, group.size)]] = True
        if generator.random() < 0.8:
            masks |= group.in_leaves(mask)
            if id(group.leaf) in outers:
                outer[id(group.leaf)] = outers[id(group.leaf)]
                rows = np.tile(mask, (math.prod(one.size for one in outer[id(group.leaf)]), 1))
                masks[id(group.leaf)] = generator.permuted(rows, axis=1)
    return Kept(masks, outer)


def masked(model: nn.Module, plan: Plan) -> nn.Module:
    """Return a copy of a model with zeros wherever `plan` does not keep a position.

    Where groups of a convolution read other channels each, what gives these channels is zero.
    """
    model = copy.deepcopy(model)
    with torch.no_grad():
        for path, dims in plan.items():
            tensor = attribute(model, path)
            for dim, positions in dims.items():
                if isinstance(positions, tuple):
                    continue
                gone = torch.ones(tensor.shape[dim], dtype=torch.bool)
                gone[positions] = False
                tensor.movedim(dim, 0)[gone] = 0
    return model


def distance(expected: torch.Tensor, found: torch.Tensor) -> float:
    """Return the largest difference, relative to the largest value that is expected."""
    return float((expected - found).abs().max() / expected.abs().max().clamp_min(1e-300))


def _permuted(captured: fxc.Captured, free: list[Group], given: torch.Tensor, seed: int) -> float:
    from fxcompress.testing.permuting import permute, random_orders

    module = copy.deepcopy(captured.module)
    axes = analyse(module)
    leaves = [leaf for group in groups_of(axes) if group.free for leaf in group.leaves]
    assert len(leaves) == sum(len(group.leaves) for group in free)
    with torch.no_grad():
        before = module(given)
        permute(module, axes, random_orders(leaves, seed))
        return distance(before, module(given))
