"""fxcompress::masked: results and gradients, whatever is stored; and the verbs that put it into a graph."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.errors import UsageError
from fxcompress.sparsity import bake_masks, insert_mask, masks_of

masked = torch.ops.fxcompress.masked


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_masked_elements_are_plus_zero_whatever_is_stored(dtype):
    weight = torch.tensor([1.0, -2.0, float("nan"), float("inf"), -float("inf"), -3.0], dtype=dtype)
    mask = torch.tensor([True, False, False, False, False, True])
    found = masked(weight, mask)
    assert found.dtype == dtype
    assert found.tolist() == [1.0, 0.0, 0.0, 0.0, 0.0, -3.0]
    assert torch.signbit(found).tolist() == [False, False, False, False, False, True]


def test_gradients():
    mask = torch.rand(3, 4, generator=torch.Generator().manual_seed(0)) > 0.5
    weight = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda one: masked(one, mask), (weight,))
    torch.library.opcheck(masked.default, (weight, mask))


def two_linears(tied=False):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)).eval()
    if tied:
        model[2].weight = model[0].weight
    return fxc.capture(model, (torch.randn(3, 4),)).module


def test_a_mask_goes_in_and_comes_off():
    module = two_linears()
    names = [node.name for node in module.graph.nodes]
    want = module.get_parameter("0.weight").detach().clone()
    keep = torch.eye(4, dtype=torch.bool)
    for _ in range(2):
        insert_mask(module, "0.weight", keep)
        module.recompile()
        assert torch.equal(masks_of(module)["0.weight"], keep)
        assert torch.equal(module.state_dict()["0.weight_mask"], keep)
        assert torch.equal(module.get_parameter("0.weight"), want * keep)
    insert_mask(module, "0.weight", ~keep)
    assert list(masks_of(module)) == ["0.weight"]
    assert bake_masks(module) == ["0.weight"]
    module.recompile()
    assert [node.name for node in module.graph.nodes] == names
    assert "0.weight_mask" not in module.state_dict()
    assert not module.get_parameter("0.weight").any()


def test_a_tied_weight_has_one_mask():
    module = two_linears(tied=True)
    x = torch.randn(3, 4)
    keep = torch.rand(4, 4) > 0.5
    weight = module.get_parameter("0.weight").detach().double() * keep
    insert_mask(module, "0.weight", keep)
    module.recompile()
    assert len(masks_of(module)) == 1
    with torch.no_grad():
        module.get_parameter("0.weight").add_(1)
        weight = (weight + 1) * keep
    biases = [module.get_parameter(name).detach().double() for name in ("0.bias", "2.bias")]
    want = torch.relu(x.double() @ weight.T + biases[0]) @ weight.T + biases[1]
    torch.testing.assert_close(module(x).double(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("keep", [torch.ones(4, 4), torch.ones(4, 3, dtype=torch.bool)])
def test_a_mask_of_another_kind_is_refused(keep):
    with pytest.raises(UsageError, match="is bool of shape"):
        insert_mask(two_linears(), "0.weight", keep)
