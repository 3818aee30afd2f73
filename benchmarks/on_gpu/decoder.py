"""A decoder in the shape of Llama with random weights, which decodes one token of each sequence at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from on_gpu.contenders import GROUP, block_sparse, dense, eight_bits, weight_only

Tensor = torch.Tensor
Apply = Callable[[Tensor], Tensor]
ops = torch.ops.fxcompress
SCHEMES = {
    "bf16": dense,
    "w8a16": weight_only(8, 0),
    "w4a16": weight_only(4, GROUP),
    "w8a8": eight_bits(torch.int8),
    "block-sparse 80%": block_sparse(0.8),
}


@dataclass(frozen=True)
class Sizes:
    """Of a decoder: those of Llama 2 7B, but for the number of layers.

    Attributes:
        context: tokens that each sequence has already.
    """

    layers: int = 8
    width: int = 4096
    hidden: int = 11008
    heads: int = 32
    context: int = 512


class Layer:
    """Attention over a context that is there, and the network behind it.

    The queries, keys and values are one product, and so are gates and what they gate.
    """

    def __init__(self, sizes: Sizes, scheme: str, batch: int, device: str) -> None:
        make = SCHEMES[scheme]
        width, hidden = sizes.width, sizes.hidden
        self.shape = (batch, sizes.heads, 1, width // sizes.heads)
        self.norms = [torch.ones(width, device=device, dtype=torch.bfloat16) for _ in range(2)]
        context = (2, batch, sizes.heads, sizes.context, self.shape[-1])
        self.keys, self.values = torch.randn(context, device=device, dtype=torch.bfloat16)
        shapes = ((3 * width, width), (width, width), (2 * hidden, width), (width, hidden))
        self.qkv, self.out, self.gate_up, self.down = (make(n, k, device).run for n, k in shapes)

    def __call__(self, x: Tensor) -> Tensor:
        x = x + self.out(self._attention(self._normed(x, 0)))
        gate, up = self.gate_up(self._normed(x, 1)).chunk(2, -1)
        return torch.add(x, self.down(functional.silu(gate) * up))

    def _normed(self, x: Tensor, place: int) -> Tensor:
        # Weights are random and not trained: what leaves them is brought to the size of what a trained layer gives.
        made: Tensor = functional.rms_norm(x, x.shape[-1:], self.norms[place], 1e-5) / x.shape[-1] ** 0.5
        return made

    def _attention(self, x: Tensor) -> Tensor:
        query, key, value = (part.view(self.shape) for part in self.qkv(x).chunk(3, -1))
        # The oldest token leaves, so that sizes stay as they are.
        keys, values = torch.cat([self.keys[:, :, 1:], key], 2), torch.cat([self.values[:, :, 1:], value], 2)
        made: Tensor = functional.scaled_dot_product_attention(query, keys, values).flatten(1)
        return made


class Decoder:
    """Layers one behind the other, called with the embeddings of one token of each sequence, [batch, width]."""

    def __init__(self, sizes: Sizes, scheme: str, batch: int, device: str) -> None:
        self.layers = [Layer(sizes, scheme, batch, device) for _ in range(sizes.layers)]

    def __call__(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x
