"""mask against numpy: exact counts, ties, thresholds, local and global; and which weights it takes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import EVERY_WEIGHT, IDS, Draft, EveryWeight, apply
from torch import nn

import fxcompress as fxc
from fxcompress.errors import StepFailed

aten = torch.ops.aten


def perceptron(*weights, dtype=torch.float32):
    """A chain of linears with the given weights, each a list of rows."""
    draft = Draft()
    rows = torch.randn(2, len(weights[0][0]), dtype=dtype)
    x = draft.input("x", rows)
    for index, weight in enumerate(weights):
        x = draft.call(aten.linear.default, x, draft.tensor(f"{index}.weight", torch.tensor(weight, dtype=dtype)))
    return draft.module(x)


def weights_of(module):
    return [tensor.detach().numpy().astype(np.float64) for tensor in module.parameters() if tensor.dim() > 1]


def brute_force(values, share):
    """Zero `round(share * n)` of `values`: the smallest magnitudes, of equals the first."""
    masked = values.copy()
    order = sorted(range(len(values)), key=lambda i: (abs(values[i]), i))
    masked[order[: round(share * len(values))]] = 0
    return masked


# Few distinct values, so that ties and zeros are the rule.
matrices = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(st.integers(-3, 3), min_size=width, max_size=width), min_size=width, max_size=width)
)


@settings(max_examples=25, deadline=None)
@given(matrices, st.floats(0, 1), st.sampled_from([torch.float32, torch.float64]))
def test_sparsity_of_each_tensor_is_met_to_the_weight(rows, share, dtype):
    module = perceptron(rows, rows, dtype=dtype)
    expected = [brute_force(one.flatten(), share).reshape(one.shape) for one in weights_of(module)]
    module, context = apply(f"mask{{sparsity={share!r}}}", module)
    assert all(np.array_equal(got, want) for got, want in zip(weights_of(module), expected, strict=True))
    zeros = [int((one == 0).sum()) for one in expected]
    assert context.details["masked"] == {"0.weight": zeros[0], "1.weight": zeros[1]}
    assert context.statistics["zeros"] == sum(zeros)
    assert context.statistics["weights"] == 2 * len(rows) ** 2
    assert context.statistics["zeroed"] == sum(zeros) - 2 * int((np.array(rows) == 0).sum())


@settings(max_examples=25, deadline=None)
@given(matrices, st.data(), st.floats(0, 1))
def test_sparsity_over_all_tensors_together(rows, data, share):
    size = len(rows)
    other = data.draw(st.lists(st.lists(st.integers(-3, 3), min_size=size, max_size=size), min_size=1, max_size=3))
    module = perceptron(rows, other)
    flat = np.concatenate([one.flatten() for one in weights_of(module)])
    module, _ = apply(f"mask{{sparsity={share!r} scope=global}}", module)
    assert np.array_equal(np.concatenate([one.flatten() for one in weights_of(module)]), brute_force(flat, share))


@settings(max_examples=20, deadline=None)
@given(matrices, st.floats(0, 4))
def test_threshold(rows, threshold):
    module = perceptron(rows)
    (before,) = weights_of(module)
    module, _ = apply(f"mask{{threshold={threshold!r}}}", module)
    assert np.array_equal(weights_of(module)[0], np.where(np.abs(before) < threshold, 0, before))


def test_global_ranks_are_those_of_the_widest_dtype():
    # 1 and 1 + 1e-12 are the same in float32, and the smaller one has to go.
    module = perceptron([[1 + 1e-12, 1.0]], [[2.0]], dtype=torch.float64)
    module, _ = apply("mask{sparsity=0.34 scope=global}", module)
    assert weights_of(module)[0].tolist() == [[1 + 1e-12, 0.0]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    module = perceptron([[0.5, -1.0], [2.0, 0.25]], dtype=dtype)
    module, _ = apply("mask", module)
    assert module.get_parameter("0.weight").tolist() == [[0.0, -1.0], [2.0, 0.0]]
    assert module.get_parameter("0.weight").dtype == dtype


@pytest.fixture(scope="module")
def many():
    torch.manual_seed(0)
    return fxc.capture(EveryWeight().eval(), (IDS,))


def test_which_weights(many):
    result = fxc.compress(many, None, "mask{sparsity=0.25}")
    stage = result.stages[0]
    assert set(stage.details["masked"]) == EVERY_WEIGHT
    for path in EVERY_WEIGHT:
        tensor = result.module.get_parameter(path)
        assert int((tensor == 0).sum()) == round(0.25 * tensor.numel())
    assert stage.notes == (
        "head.weight, table.weight: left alone, it is an embedding; targets may name it",
        "blur: left alone, it is a buffer; targets may name it",
    )
    for path in ("embedding.weight", "blur", "conv.bias"):
        assert torch.equal(result.module.state_dict()[path], many.module.state_dict()[path])


def test_targets_reach_embeddings_and_buffers(many):
    result = fxc.compress(many, None, "mask{targets=table,blur,head}")
    assert set(result.stages[0].details["masked"]) == {"table.weight", "blur", "head.weight"}
    assert result.module.head.weight is result.module.embedding.weight
    assert int((result.module.head.weight == 0).sum()) == 30


def test_ignored_layers_keep_what_they_share(many):
    result = fxc.compress(many, None, "mask{targets=head,conv ignore=embedding}")
    assert set(result.stages[0].details["masked"]) == {"conv.weight"}
    assert result.stages[0].notes == ("head.weight: left alone, an ignored layer shares it",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mask{targets=convv}", ["'convv' matches no module, node or parameter", "did you mean 'conv'?"]),
        ("mask{ignore=atention.*}", ["'atention.*' matches no", "did you mean 'attention"]),
        ("mask{targets=conv,nowhere}", ["'nowhere' matches no"]),
        ("mask{targets=softmax}", ["none of softmax has a stored weight"]),
        ("clip{limit=1 targets=bilinaer}", ["did you mean 'bilinear'?"]),
        ("quantize{targets=recurent}", ["did you mean 'recurrent'?"]),
    ],
)
def test_targets_that_miss_are_errors_with_the_nearest_name(many, text, words):
    with pytest.raises(StepFailed) as caught:
        fxc.compress(many, None, text)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_masks_survive_what_does_not_learn_and_add_up():
    module = perceptron([[1.0, -2.0], [3.0, 0.0]])
    once, _ = apply("mask{sparsity=0.5}", copy.deepcopy(module))
    twice, context = apply("mask{sparsity=0.5}", once)
    assert weights_of(twice)[0].tolist() == [[0.0, -2.0], [3.0, 0.0]]
    assert context.statistics == {"zeroed": 0, "zeros": 2, "weights": 4}


def test_extremes():
    module = perceptron([[1.0, -2.0], [3.0, 0.0]])
    nothing, _ = apply("mask{sparsity=0}", copy.deepcopy(module))
    assert weights_of(nothing)[0].tolist() == weights_of(module)[0].tolist()
    everything, _ = apply("mask{sparsity=1}", module)
    assert not weights_of(everything)[0].any()


def test_a_mask_on_a_quantized_model_says_why_it_does_nothing(many):
    stages = fxc.compress(many, None, "quantize{ignore=up},mask").stages
    assert set(stages[1].details["masked"]) == {"up.weight"}
    assert any("the weight is quantized already" in note for note in stages[1].notes)


def test_weights_inside_of_subgraphs_are_named():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.branch = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            x = self.stem(x)
            return torch.cond(x.sum() > 0, lambda y: self.branch(y), lambda y: y * 2, (x,))

    # torch warns of gradients that are asked for inside of a branch.
    model = Branches().eval().requires_grad_(False)
    stage = fxc.compress(model, (torch.randn(2, 3),), "mask").stages[0]
    assert set(stage.details["masked"]) == {"stem.weight"}
    assert stage.notes == ("%cond: left alone, a subgraph calculates with the weight",)


def test_a_weight_that_the_graph_computes_is_named():
    draft = Draft()
    rows = torch.randn(2, 3)
    weight = draft.call(aten.tanh.default, draft.tensor("weight", torch.randn(3, 3)))
    x = draft.call(aten.linear.default, draft.input("x", rows), weight)
    # What two inputs give together is no weight.
    module = draft.module(draft.call(aten.matmul.default, x, draft.call(aten.t.default, x)))
    module, context = apply("mask", module)
    assert context.notes == ["%linear: left alone, the weight is computed in the graph (fold-constants may store it)"]
