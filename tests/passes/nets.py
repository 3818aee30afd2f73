"""Graphs for tests of passes: drawn call by call, which takes milliseconds, or captured once from small models."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.fx import Graph, Node

import fxcompress as fxc
from fxcompress.contract import PassContext, Resources, statistics_of
from fxcompress.graph.module import CapturedModule
from fxcompress.graph.shapes import propagate
from fxcompress.pipeline import Pipeline

aten = torch.ops.aten


class Draft:
    """A graph of ATen calls that is drawn call by call.

    draft = Draft()
    x = draft.input("x", torch.randn(2, 3))
    module = draft.module(draft.call(aten.linear.default, x, draft.tensor("w", torch.randn(4, 3))))
    """

    def __init__(self) -> None:
        self.root = nn.Module()
        self.graph = Graph()

    def input(self, name: str, example: torch.Tensor) -> Node:
        node = self.graph.placeholder(name)
        node.meta["val"] = example
        return node

    def tensor(self, path: str, value: torch.Tensor, *, buffer: bool = False, persistent: bool = True) -> Node:
        """Register `value`, as a parameter unless `buffer` says so, and return a node that reads it."""
        owner = self.root
        *words, last = path.split(".")
        for word in words:
            if word not in owner._modules:
                owner.add_module(word, nn.Module())
            owner = owner._modules[word]
        if not buffer and not isinstance(value, nn.Parameter):
            value = nn.Parameter(value, requires_grad=value.is_floating_point())
        if not hasattr(owner, last):
            if buffer:
                owner.register_buffer(last, value, persistent=persistent)
            else:
                owner.register_parameter(last, value)
        return self.graph.get_attr(path)

    def call(self, target: Any, *args: Any, **kwargs: Any) -> Node:
        """A call under the name that export would give it: `conv2d`, `conv2d_1`."""
        packet = getattr(target, "overloadpacket", target)
        return self.graph.create_node("call_function", target, args, kwargs, name=packet.__name__)

    def batch_norm(
        self, x: Node, path: str, channels: int, *, affine: bool = True, dtype: torch.dtype = torch.float64
    ) -> Node:
        """A batch norm with random statistics, as training leaves them."""
        names = ("weight", "bias") if affine else ()
        own = [self.tensor(f"{path}.{name}", torch.rand(channels, dtype=dtype) + 0.5) for name in names]
        mean = self.tensor(f"{path}.running_mean", torch.randn(channels, dtype=dtype), buffer=True)
        var = self.tensor(f"{path}.running_var", torch.rand(channels, dtype=dtype) + 0.5, buffer=True)
        self.root.get_submodule(path).register_buffer("num_batches_tracked", torch.tensor(7))
        return self.call(aten.batch_norm.default, x, *(own or (None, None)), mean, var, False, 0.1, 1e-5, False)

    def module(self, *outputs: Node) -> CapturedModule:
        self.graph.output(outputs[0] if len(outputs) == 1 else outputs)
        module = CapturedModule(self.root, self.graph)
        module.eval()
        propagate(module)
        return module


def apply(text: str, module: CapturedModule) -> tuple[CapturedModule, PassContext]:
    """Run the one pass that `text` spells on `module`, without any instrument; return what it left behind."""
    (running,) = Pipeline.parse(text)
    context = PassContext(Resources(fxc.Inputs()), tuple(statistics_of(type(running))))
    result = running.apply(module, context)
    assert isinstance(result, CapturedModule)
    result.graph.lint()
    result.recompile()
    propagate(result)
    return result, context


def operations(module: CapturedModule) -> list[str]:
    """The names of the calls in order: `conv2d`, `batch_norm`."""
    return [
        str(getattr(node.target, "overloadpacket", node.target.__name__)).removeprefix("aten.")
        for node in module.graph.nodes
        if node.op == "call_function"
    ]


def with_statistics(model: nn.Module) -> nn.Module:
    """Give the batch norms of `model` random statistics, scales and shifts, and return it in evaluation mode."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor, low, high in (
                (module.running_mean, -1.0, 1.0),
                (module.running_var, 0.5, 2.0),
                (module.weight, 0.5, 1.5),
                (module.bias, -1.0, 1.0),
            ):
                if tensor is not None:
                    nn.init.uniform_(tensor, low, high)
    return model.eval()


class EveryWeight(nn.Module):
    """Every kind of weight, tied and viewed ones too, and a fixed filter."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(10, 6), nn.Linear(6, 10, bias=False)
        self.head.weight = self.embedding.weight
        self.recurrent = nn.LSTM(6, 6, batch_first=True)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.bilinear = nn.Bilinear(6, 6, 6)
        self.table = nn.Embedding(4, 6)
        self.matrix, self.mixed = nn.Parameter(torch.randn(6, 6)), nn.Parameter(torch.randn(6, 6))
        self.experts = nn.Parameter(torch.randn(2, 6, 6))
        self.conv, self.up = nn.Conv1d(6, 6, 3), nn.ConvTranspose1d(6, 6, 3)
        self.register_buffer("blur", torch.full((6, 1, 3), 1 / 3))

    def forward(self, ids):
        x, _ = self.recurrent(self.embedding(ids) + self.table(ids % 4))
        x, _ = self.attention(x, x + 1, x * 2)
        x = self.bilinear(x, x) @ self.matrix
        pairs = x.reshape(-1, 2, 6).transpose(0, 1)
        x = torch.bmm(pairs, self.experts).transpose(0, 1).reshape_as(x)
        x = torch.einsum("bni,ij->bnj", x, self.mixed)
        x = self.up(self.conv(x.transpose(1, 2)))
        x = nn.functional.conv1d(x, self.blur, groups=6)
        return self.head(x.transpose(1, 2))


IDS = torch.arange(8).view(2, 4)
EVERY_WEIGHT = {
    "recurrent.weight_ih_l0",
    "recurrent.weight_hh_l0",
    "attention.in_proj_weight",
    "attention.out_proj.weight",
    "bilinear.weight",
    "matrix",
    "experts",
    "mixed",
    "conv.weight",
    "up.weight",
}
