"""Types that are computed without running agree with those of tensors that were computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.graph.shapes import propagate


@pytest.mark.parametrize(
    "kind", [nn.LSTM, nn.GRU, nn.RNN, lambda *args, **options: nn.RNN(*args, nonlinearity="relu", **options)]
)
@pytest.mark.parametrize(
    "options", [{}, {"batch_first": True}, {"bidirectional": True, "num_layers": 2, "batch_first": True}]
)
def test_recurrent_layers(kind, options):
    model = kind(3, 4, **options).eval()
    check_types(model, torch.randn(5, 6, 3))


def test_a_projection():
    check_types(nn.LSTM(3, 4, proj_size=2, batch_first=True).eval(), torch.randn(5, 6, 3))


def test_strides_of_the_inputs_are_kept():
    class Strides(nn.Module):
        def forward(self, x):
            return x * 2, x.contiguous(), x.permute(0, 2, 3, 1).reshape(x.shape[0], -1)

    check_types(Strides(), torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last))
    check_types(Strides(), torch.randn(2, 4, 5, 3).permute(0, 3, 1, 2))


def test_no_data_is_held():
    module = fxc.capture(nn.Linear(3, 3), (torch.randn(2, 3),)).module
    for node in module.graph.nodes:
        if node.op != "output":
            assert isinstance(node.meta["val"], torch._subclasses.FakeTensor)


def check_types(model, x):
    module = fxc.capture(model, (x,), dynamic="none").module
    propagate(module)

    class Compare(torch.fx.Interpreter):
        def run_node(self, node):
            value = super().run_node(node)
            known = leaves(node.meta["val"]) if node.op != "output" else leaves(value)
            for got, want in zip(known, leaves(value), strict=True):
                assert (got.dtype, got.shape) == (want.dtype, want.shape)
                assert got.stride() == want.stride() or 1 in want.shape, node
            return value

    Compare(module).run(x)


def leaves(value):
    return [leaf for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]
