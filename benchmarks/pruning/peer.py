"""Torch-Pruning's side, used as its own documentation does.

pip install --no-deps torch-pruning==1.6.1
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import nn

from pruning.counting import macs

INSTALL = "pip install --no-deps torch-pruning==1.6.1"


def peer_version() -> str:
    """Return the version of Torch-Pruning; leave with a hint where it is not installed."""
    try:
        return version("torch-pruning")
    except PackageNotFoundError:
        sys.exit(f"Torch-Pruning is not there\n  hint: {INSTALL}")


def prune_in_place(network: nn.Module, image: torch.Tensor, ratio: float, head: nn.Module, scope: str) -> None:
    """Analyse `network` and remove a share `ratio` of its channels by the l2 norm of their groups.

    The dictionaries are given since the defaults are shared by all pruners of a process.
    """
    import torch_pruning

    pruner = torch_pruning.pruner.MetaPruner(
        network,
        image,
        importance=torch_pruning.importance.MagnitudeImportance(p=2),
        global_pruning=scope == "global",
        pruning_ratio=ratio,
        ignored_layers=[head],
        in_channel_groups={},
        out_channel_groups={},
        num_heads={},
    )
    pruner.step()


def pruned_copy(network: nn.Module, image: torch.Tensor, ratio: float, head: str, scope: str) -> nn.Module:
    """Return a pruned copy of `network`."""
    network = copy.deepcopy(network)
    prune_in_place(network, image, ratio, network.get_submodule(head), scope)
    return network


def ratios_for(
    network: nn.Module, image: torch.Tensor, head: str, scope: str, shares: Sequence[float], step: float
) -> dict[float, float]:
    """Return for every share of the multiply-accumulates the ratio that leaves the most of them, but no more.

    The tool takes a ratio of channels. All ratios are tried, in steps, as what they leave is not always monotonic.
    """
    dense = macs(network, image)
    left = {}
    for count in range(1, round(1 / step)):
        ratio = count * step
        left[ratio] = macs(pruned_copy(network, image, ratio, head, scope), image) / dense
    return {
        share: max((r for r in left if left[r] <= share), key=lambda r: left[r], default=max(left)) for share in shares
    }
