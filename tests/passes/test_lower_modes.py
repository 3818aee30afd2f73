"""A lowered graph bears `train()` and `eval()`, though it does not train."""

from __future__ import annotations

import torch
from torch import nn

import fxcompress as fxc


class Attention(nn.Module):
    """Attention with dropout inside, as the encoders of transformers have it."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, x):
        q, k, v = (one(x).unflatten(-1, (2, 8)).transpose(1, 2) for one in (self.q, self.k, self.v))
        probability = 0.1 if self.training else 0.0
        made = nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=probability)
        return made.transpose(1, 2).flatten(2)


def test_modes_of_lowered_attention():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 16)
    module = fxc.compress(Attention().eval(), (x,), "quantize{scheme=w8a8},lower{measure=false}").module
    with torch.no_grad():
        want = module(x)
        module.train()
        assert torch.equal(module(x), want)
        module.eval()
        assert torch.equal(module(x), want)
