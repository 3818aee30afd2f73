"""Results of two models, side by side."""

from __future__ import annotations

import torch
from torch.utils import _pytree as pytree


def assert_same(got, want, tolerance=1e-6):
    assert pytree.tree_structure(got) == pytree.tree_structure(want)
    for one, other in zip(pytree.tree_leaves(got), pytree.tree_leaves(want), strict=True):
        if isinstance(other, torch.Tensor):
            assert one.dtype == other.dtype
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
        else:
            assert one == other


def target_names(module):
    return [str(node.target) for node in module.graph.nodes if node.op == "call_function"]
