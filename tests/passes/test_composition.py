"""Every ordered pair of built-in passes on small models: verified, loadable, and harmless the second time."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.testing import examples

PASSES = (
    "fold-constants",
    "fold-bn",
    "eliminate-dead-nodes",
    "mask{sparsity=0.3}",
    "clip{deviations=2}",
    "quantize",
)
EXACT = PASSES[:3]
EXAMPLES = {example.name: example for example in examples() if example.name != "perceptron"}


@pytest.fixture(scope="module", params=EXAMPLES)
def captured(request):
    example = EXAMPLES[request.param]
    return fxc.capture(example.model, example.inputs)


def test_every_ordered_pair(captured):
    """The second pass starts from the first one's result; the verifier looks after each."""
    for first in PASSES:
        middle = fxc.compress(captured, None, first, diffs=False)
        for second in (one for one in PASSES if one != first):
            result = fxc.compress(middle, None, second, diffs=False)
            other = copy.deepcopy(result.module)
            other.load_state_dict(result.module.state_dict())
            if {first, second} <= set(EXACT):
                assert result.stages[0].largest_difference < 1e-5
                assert close(captured.inputs.call(captured.module), captured.inputs.call(result.module))


def close(want, got):
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(leaves(want), leaves(got), strict=True))


def leaves(results):
    return [leaf for leaf in torch.utils._pytree.tree_leaves(results) if isinstance(leaf, torch.Tensor)]


def test_tidy_twice_is_tidy_once(captured):
    stages = fxc.compress(captured, None, "tidy,tidy").stages
    assert [stage.changed for stage in stages[3:]] == [False, False, False]
    assert all(stage.diff.empty for stage in stages[3:])


def test_tidy_leaves_what_the_graph_needs(captured):
    module = fxc.compress(captured, None, "tidy").module
    read = {node.target for node in module.graph.find_nodes(op="get_attr")}
    held = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
    assert {
        id(getattr(module.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2])) for path in read
    } == held


def test_all_of_them_in_a_row_train(captured):
    module = fxc.compress(captured, None, ",".join(PASSES)).module.train()
    outputs = leaves(captured.inputs.call(module))
    sum(output.square().mean() for output in outputs if output.is_floating_point()).backward()
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    assert trainable
    assert all(parameter.grad is not None for parameter in trainable)


def test_in_two_runs_as_in_one():
    example = EXAMPLES["convolutional"]
    first = fxc.compress(example.model, example.inputs, "tidy,mask")
    second = fxc.compress(first, None, "quantize").module.state_dict()
    at_once = fxc.compress(example.model, example.inputs, "tidy,mask,quantize").module.state_dict()
    assert list(second) == list(at_once)
    assert all(torch.equal(second[name], tensor) for name, tensor in at_once.items())


def test_the_user_keeps_the_model():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    before = copy.deepcopy(model.state_dict())
    fxc.compress(model, (torch.randn(2, 3, 5, 5),), ",".join(PASSES))
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
