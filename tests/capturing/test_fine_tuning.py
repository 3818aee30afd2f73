"""Fine-tuning what was captured gives the losses of fine-tuning the original; what cannot follow train() is said."""

from __future__ import annotations

import copy

import models
import pytest
import torch
from torch import nn

import fxcompress as fxc


def losses(model, batches, optimizer, seed=3):
    model.train()
    optimizer = optimizer([parameter for parameter in model.parameters() if parameter.requires_grad])
    torch.manual_seed(seed)
    found = []
    for given in batches:
        optimizer.zero_grad()
        output = model(*given)
        tensors = [leaf for leaf in torch.utils._pytree.tree_leaves(output) if leaf.is_floating_point()]
        loss = sum((tensor - 1).square().mean() for tensor in tensors)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01),
}


def _frozen():
    model = models.Plain()
    model.conv.requires_grad_(False)
    return model


def _two_rows(batch):
    return torch.randn(batch, 5, 8), torch.randn(batch, 4, 8)


MODELS = {
    "plain": (models.Plain, models.image),
    "tied": (models.Tied, models.words),
    "no-grad": (models.NoGrad, models.rows(4)),
    "attention": (lambda: models.Attention(drop=0.4), models.rows(5, 8)),
    "recurrent": (models.Recurrent, models.rows(5, 3)),
    "frozen": (_frozen, models.image),
    "transformer": (lambda: nn.TransformerDecoderLayer(8, 2, 16, dropout=0.2, batch_first=True), _two_rows),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_losses_and_statistics_are_those_of_the_original(name, optimizer):
    build, inputs = MODELS[name]
    torch.set_default_dtype(torch.float64)
    try:
        original = build()
        batches = [inputs(batch) for batch in (4, 4, 3, 5, 4)]
        captured = fxc.capture(original, batches[0])
        assert captured.notes == ()
        got = losses(captured.module, batches, OPTIMIZERS[optimizer])
        want = losses(original, batches, OPTIMIZERS[optimizer])
    finally:
        torch.set_default_dtype(torch.float32)
    assert len(set(want)) == len(want)
    torch.testing.assert_close(torch.tensor(got), torch.tensor(want), rtol=1e-9, atol=1e-9)
    state = captured.module.state_dict()
    for path, tensor in original.state_dict().items():
        if not path.endswith("num_batches_tracked"):
            torch.testing.assert_close(state[path], tensor, rtol=1e-8, atol=1e-8)


def test_train_and_eval_switch_forth_and_back():
    model = models.Plain().eval()
    module = fxc.capture(model, models.image(2)).module
    (image,) = models.image(4)
    want = module(image)["logits"]
    code = module.code
    assert not torch.equal(module.train()(image)["logits"], want)
    assert module.code != code
    module = fxc.capture(model, models.image(2)).module
    copied = copy.deepcopy(module.train())
    assert copied.training
    assert copied.eval().code == code
    assert torch.equal(copied(image)["logits"], want)


def test_attention_dropout_follows_the_mode():
    torch.manual_seed(1)
    model = models.Attention(drop=0.5)
    module = fxc.capture(model, models.rows(5, 8)(2)).module
    (x,) = models.rows(5, 8)(4)
    for training in (True, False, True):
        model.train(training)
        module.train(training)
        torch.manual_seed(5)
        want = model(x)
        torch.manual_seed(5)
        torch.testing.assert_close(module(x), want)
    copied = copy.deepcopy(module).eval()
    torch.testing.assert_close(copied(x), model.eval()(x))


def test_what_only_training_mode_does_is_said():
    notes = fxc.capture(models.Attention(depth=0.2), models.rows(5, 8)(2)).notes
    assert [note for note in notes if "StochasticDepth (path)" in note]
    assert fxc.capture(models.Attention(depth=0.0), models.rows(5, 8)(2)).notes == ()
    notes = fxc.capture(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, momentum=None)), models.rows(3)(2)).notes
    assert [note for note in notes if "batch norms without momentum: 1" in note]
    x = torch.randn(2, 5, 8)
    notes = fxc.capture(nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True), (x, x, x)).notes
    assert [note for note in notes if "MultiheadAttention (the model itself)" in note]


class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.round()

    @staticmethod
    def backward(context, gradient):
        return gradient


def test_gradients_of_the_models_own_are_said():
    class Rounding(nn.Module):
        def forward(self, x):
            return Rounded.apply(x)

    apply = vars(torch.autograd.Function)["apply"]
    notes = fxc.capture(Rounding(), models.rows(3)(2)).notes
    assert [note for note in notes if note.endswith("Rounded")]
    assert vars(torch.autograd.Function)["apply"] is apply


def test_batch_norm_without_statistics_stays_as_it_is():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)).eval()
    module = fxc.capture(model, models.image(2)).module
    (image,) = models.image(4)
    for training in (True, False):
        torch.testing.assert_close(module.train(training)(image), model.train(training)(image))


def test_gradients_stop_where_they_stopped():
    original = models.NoGrad()
    captured = fxc.capture(original, models.rows(4)(3)).module
    gradients = []
    for model in (original, captured):
        x = torch.linspace(-1, 1, 12).reshape(3, 4).requires_grad_()
        model(x).square().sum().backward()
        gradients.append([x.grad, *(model.get_parameter(name).grad for name, _ in original.named_parameters())])
    for got, want in zip(*reversed(gradients), strict=True):
        torch.testing.assert_close(got, want)
