"""Residual blocks against what networkx finds, and against lists by hand for networks as people write them."""

from __future__ import annotations

import time

import networkx as nx
import pytest
import torch
from torch import nn
from torch.fx import Graph

import fxcompress as fxc
from fxcompress.analysis.block_scopes import residual_blocks
from fxcompress.analysis.blocks import Block, branch_of, is_sum, residual_branches, terms_of
from fxcompress.analysis.flow import Flow
from fxcompress.graph.module import CapturedModule
from fxcompress.graph.shapes import propagate

aten = torch.ops.aten


def capture(model, *inputs):
    return fxc.capture(model.eval(), inputs).module


def names(module, level="block"):
    return [block.scope for block in residual_blocks(module, level).found]


def linear(width=4):
    return nn.Linear(width, width)


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


ROWS = torch.randn(3, 4)


def test_a_row_of_blocks():
    assert names(capture(nn.Sequential(linear(), Residual(linear()), Residual(linear())), ROWS)) == ["1", "2"]


def test_the_parts_of_a_block():
    module = capture(nn.Sequential(linear(), Residual(nn.Sequential(linear(), nn.ReLU(), linear()))), ROWS)
    (block,) = residual_blocks(module, "branch").found
    assert (block.scope, block.level, block.entry.name, block.exit.name) == ("1", "branch", "linear", "add")
    assert [node.name for node in block.nodes] == ["linear_1", "relu", "linear_2"]
    assert block.lasts == block.nodes[-1:]
    assert set(block.parameters) == {f"1.inner.{place}.{name}" for place in (0, 2) for name in ("weight", "bias")}


class Loop(nn.Module):
    """The additions stand in the module that holds the row, as in many a notebook."""

    def __init__(self, depth=3):
        super().__init__()
        pairs = (nn.ModuleList([linear(), nn.Sequential(linear(), nn.ReLU())]) for _ in range(depth))
        self.layers, self.norm = nn.ModuleList(pairs), nn.LayerNorm(4)

    def forward(self, x):
        for first, second in self.layers:
            x = first(x) + x
            x = second(x) + x
        return self.norm(x)


def test_additions_in_the_module_around():
    module = capture(nn.Sequential(Loop()), ROWS)
    assert names(module) == ["0.layers.0", "0.layers.1", "0.layers.2"]
    assert names(module, "branch") == [f"0.layers.{layer}.{part}" for layer in range(3) for part in range(2)]
    assert names(capture(Loop(), ROWS)) == ["layers.0", "layers.1", "layers.2"]


class Part(nn.Module):
    """As in T5: the addition stands in the part, and the layer is a list of parts."""

    def __init__(self):
        super().__init__()
        self.norm, self.calculation = nn.LayerNorm(4), linear()

    def forward(self, x):
        return x + self.calculation(self.norm(x))


class OtherPart(Part):
    pass


class OfParts(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.ModuleList([Part(), OtherPart()])

    def forward(self, x):
        for part in self.layer:
            x = part(x)
        return x


def test_layers_made_of_parts():
    module = capture(nn.Sequential(linear(), OfParts(), OfParts()), ROWS)
    assert names(module) == ["1", "2"]
    assert names(module, "branch") == ["1.layer.0", "1.layer.1", "2.layer.0", "2.layer.1"]


def test_a_row_of_different_blocks_is_no_block():
    module = capture(nn.Sequential(linear(), nn.Sequential(Part(), OtherPart()), linear()), ROWS)
    assert names(module) == ["1.0", "1.1"]


def test_a_frame_around_a_row():
    inner = nn.Sequential(linear(), Residual(linear()), Residual(linear()))
    assert names(capture(nn.Sequential(linear(), Residual(inner)), ROWS)) == ["1.inner.1", "1.inner.2"]


def test_one_inside_another():
    inner = nn.Sequential(linear(), Residual(nn.Tanh()), Residual(linear()))
    assert names(capture(nn.Sequential(linear(), Residual(inner)), ROWS)) == ["1"]


class Gelu(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x + 0.044715 * x.pow(3))


class Squeeze(nn.Module):
    """A sum of another type than its smaller term."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 4)

    def forward(self, x):
        x = x.mean(-1, keepdim=True)
        return x + self.linear(x)


class Scaled(nn.Module):
    """The shortcut is no identity."""

    def __init__(self):
        super().__init__()
        self.linear = linear()

    def forward(self, x):
        return 2 * x + self.linear(x)


class Weights(nn.Module):
    """A residual of a weight, not of data."""

    def __init__(self):
        super().__init__()
        self.weight, self.change = nn.Parameter(torch.randn(4, 4)), linear()

    def forward(self, x):
        return x @ (self.weight + self.change(self.weight))


@pytest.mark.parametrize("model", [Gelu(), Squeeze(), Scaled(), Weights()], ids=lambda model: type(model).__name__)
def test_what_is_no_block(model):
    assert residual_blocks(capture(nn.Sequential(linear(), model), ROWS)).found == ()


class Inside(nn.Module):
    def __init__(self, reads):
        super().__init__()
        self.first, self.second, self.reads = linear(), linear(), reads

    def forward(self, x):
        inner = self.first(x)
        return self.reads(x + self.second(inner), inner)


@pytest.mark.parametrize(
    ("reads", "free"),
    [
        (lambda total, inner: (total, inner), False),
        (lambda total, inner: total * inner.mean(), False),
        # A size of what is inside is a size of what goes in, too.
        (lambda total, inner: total.repeat(2, 1).view(inner.shape[0], -1), True),
        (lambda total, inner: total, True),
    ],
)
def test_what_is_read_outside(reads, free):
    blocks = residual_blocks(capture(Inside(reads), ROWS))
    assert len(blocks.found) == free
    assert bool(blocks.refused) != free


def test_in_place_operators_stay():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = linear()
            self.register_buffer("count", torch.zeros(4))

        def forward(self, x):
            self.count.add_(1)
            return x + self.linear(x) * self.count

    module = capture(InPlace(), ROWS)
    for block in residual_blocks(module).found:
        assert not any(node.target._schema.is_mutable for node in block.nodes if hasattr(node.target, "_schema"))


def random_network(seed, size=40):
    """A graph of linears, tanhs and sums of random earlier values, all of one type."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda high: int(torch.randint(high, (), generator=generator))  # noqa: E731
    root, graph = nn.Module(), Graph()
    values = [graph.placeholder("x")]
    values[0].meta["val"] = torch.randn(2, 4)
    while len(values) < size:
        # Mostly the latest values, so that there are chains.
        recent = values[-1 - min(draw(4), len(values) - 1)]
        kind = draw(3)
        if kind == 0:
            path = f"w{len(values)}"
            root.register_parameter(path, nn.Parameter(torch.randn(4, 4)))
            values.append(graph.call_function(aten.linear.default, (recent, graph.get_attr(path))))
        elif kind == 1:
            values.append(graph.call_function(aten.tanh.default, (recent,)))
        elif values[-1] is not recent:
            values.append(graph.call_function(aten.add.Tensor, (values[-1], recent)))
    graph.output(values[-1])
    module = CapturedModule(root, graph)
    module.graph.eliminate_dead_code()
    module.eval()
    propagate(module)
    return module


def is_branch(ways, add, last):
    """Whether `last` is a branch that starts at the other term, by all ways that networkx finds."""
    entry = next(term for term in add.args if term is not last)
    if not nx.has_path(ways, entry, last):
        return False
    region = (nx.descendants(ways, entry) & nx.ancestors(ways, last)) | {last}
    closed = all(user in region or (node is last and user is add) for node in region for user in node.users)
    return closed and any(node.target is aten.linear.default for node in region)


def test_random_networks_against_brute_force():
    total = 0
    for seed in range(60):
        module = random_network(seed)
        ways = nx.DiGraph((given, node) for node in module.graph.nodes for given in node.all_input_nodes)
        flow = Flow(module)
        for add in (node for node in module.graph.nodes if is_sum(node)):
            for last in add.args:
                outcome = branch_of(flow, add, last)
                if is_sum(last) and len(last.users) == 1 and set(terms_of(last)) & set(add.args):
                    # x + (x + f(x)): the branch is what the inner sum adds.
                    assert not isinstance(outcome, Block) or outcome.entry not in add.args
                elif is_branch(ways, add, last):
                    assert isinstance(outcome, Block)
                    total += 1
                elif isinstance(outcome, Block):
                    # It starts at another term of the same sum.
                    assert outcome.entry not in add.args
    assert total >= 20


def test_a_branch_is_dominated_by_the_addition():
    for seed in range(60):
        module = random_network(seed)
        backward = nx.DiGraph((node, given) for node in module.graph.nodes for given in node.all_input_nodes)
        (output,) = module.graph.find_nodes(op="output")
        dominators = nx.immediate_dominators(backward, output)
        for branch in residual_branches(module).found:
            for node in branch.nodes:
                above = node
                while above is not branch.lasts[0]:
                    above = dominators[above]
                    assert above is not output


def deep(layers):
    """A row of blocks of five calls each, drawn without capturing."""
    root, graph = nn.Module(), Graph()
    weight = root.register_parameter("w", nn.Parameter(torch.randn(4, 4)))
    x = graph.placeholder("x")
    x.meta["val"] = torch.empty(2, 4, device="meta")
    weight = graph.get_attr("w")
    for _ in range(layers):
        y = graph.call_function(aten.linear.default, (x, weight))
        for call in (aten.relu.default, aten.tanh.default, aten.sigmoid.default):
            y = graph.call_function(call, (y,))
        x = graph.call_function(aten.add.Tensor, (x, y))
    graph.output(x)
    for node in graph.nodes:
        node.meta["val"] = torch.empty(2, 4, device="meta")
    return CapturedModule(root, graph)


def test_five_thousand_nodes_take_a_moment():
    module = deep(1000)
    start = time.perf_counter()
    assert len(residual_blocks(module).found) == 1000
    # It takes a tenth of that on an idle core.
    assert time.perf_counter() - start < 5
