"""The pass `distill` against loops written by hand, with forward hooks on the very modules."""

from __future__ import annotations

import copy

import pytest
import torch
from students import EXAMPLE, Images, Named, batches, data, images, teacher
from torch import nn
from torch.nn import functional

import fxcompress as fxc

PRUNE = "prune{ratio=0.5}"


def distilled(options: str, before: str = PRUNE, model: nn.Module | None = None, **given):
    given = {"train": data(), "seed": 7, **given}
    text = ",".join(filter(None, (before, f"distill{{{options}}}")))
    return fxc.compress(model or teacher(), EXAMPLE, text, **given)


def soft(student, teacher, temperature=4.0):
    theirs = (teacher / temperature).softmax(1)
    mine = (student / temperature).log_softmax(1)
    return temperature**2 * (theirs * (theirs.log() - mine)).sum(1).mean()


PLAIN = "optimizer=sgd momentum=0 schedule=constant lr=0.1"


def by_hand(student, loss, epochs=1):
    """Train a captured graph by plain descent; `loss` takes the student and a batch.

    Adam would make steps of the rounding in gradients that are zero: those of the bias before a batch norm.
    """
    student = copy.deepcopy(student).train()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    for _ in range(epochs):
        for x, y in batches():
            optimizer.zero_grad()
            loss(student, x, y).backward()
            optimizer.step()
    return student.eval()


def close(module, other):
    ours, theirs = module.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-6)


def pruned():
    return fxc.compress(teacher(), EXAMPLE, PRUNE, seed=7).module


def test_soft_targets_of_the_model_as_it_was():
    net = teacher()
    expected = by_hand(pruned(), lambda student, x, y: soft(student(x), net(x).detach()), epochs=2)
    result = distilled(f"{PLAIN} epochs=2")
    close(result.module, expected)
    before, after = (functional.mse_loss(one(images()[0]), net(images()[0])) for one in (pruned(), result.module))
    assert float(after.detach()) < float(before.detach())


def test_labels_beside_and_weights_that_change():
    net = teacher()
    seen = []

    expected = pruned().train()
    optimizer = torch.optim.SGD(expected.parameters(), lr=0.1)
    for _ in range(2):
        for x, y in batches():
            done = len(seen) / 6
            seen.append(x)
            optimizer.zero_grad()
            given = expected(x)
            total = (0.9 - 0.9 * done) * soft(given, net(x).detach(), 2.0)
            (total + 0.3 * functional.cross_entropy(given, y)).backward()
            optimizer.step()
    result = distilled(f"{PLAIN} epochs=2 losses=soft:0.9..0,hard:0.3 temperature=2")
    close(result.module, expected.eval())


def hooked(net, names):
    """Return a function that gives the result of `net` and what hooks see at its modules."""
    seen = {}
    for name in names:
        net.get_submodule(name).register_forward_hook(lambda module, given, made, name=name: seen.update({name: made}))

    def call(x):
        seen.clear()
        return net(x), dict(seen)

    return call


def test_features_that_hooks_see():
    """A mask leaves the shapes: no projector, and the modules of a copy that is trained by hand can be hooked."""
    call = hooked(teacher(), ["second"])
    student = teacher()
    with torch.no_grad():
        student.second.weight.mul_(0.5)
    result = distilled(
        "losses=attention:2 pairs=second schedule=constant", "", copy.deepcopy(student), teacher=teacher()
    )
    mine = hooked(student, ["second"])

    def maps(features):
        return functional.normalize(features.pow(2).mean(1).flatten(1), dim=1)

    optimizer = torch.optim.AdamW(student.train().parameters(), lr=1e-3, weight_decay=0)
    for x, _ in batches():
        optimizer.zero_grad()
        with torch.no_grad():
            theirs = call(x)[1]["second"]
        loss = 2 * (maps(mine(x)[1]["second"]) - maps(theirs)).pow(2).sum(1).mean()
        loss.backward()
        optimizer.step()
    trained = {name: value for name, value in student.state_dict().items() if "num_batches" not in name}
    for name, value in trained.items():
        torch.testing.assert_close(result.module.state_dict()[name], value, rtol=1e-4, atol=1e-6)


def test_projectors_learn_and_are_dropped():
    result = distilled("losses=hint pairs=second,first epochs=3 lr=1e-2")
    assert result.module.state_dict().keys() == pruned().state_dict().keys()
    assert result.stages[1].details["losses"][-1] < result.stages[1].details["losses"][0]
    assert result.stages[1].details["pairs"] == ["second", "first"]


@pytest.mark.parametrize(
    "loss", ["soft", "dkd", "binary", "hard", "hint", "cosine", "attention", "relational", "similarity"]
)
def test_every_loss_falls(loss):
    result = distilled(f"losses={loss} epochs=6 lr=1e-2")
    losses = result.stages[1].details["losses"]
    assert losses[-1] < losses[0]
    assert set(result.stages[1].details["parts"]) == {loss}


def test_the_teacher_stays_and_is_in_no_state():
    net = teacher()
    state = copy.deepcopy(net.state_dict())
    result = distilled("losses=soft,hint epochs=2", teacher=net)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert sum(one.numel() for one in result.module.parameters()) == sum(one.numel() for one in pruned().parameters())
    assert all(one.grad is None for one in net.parameters())


def test_masks_hold():
    result = distilled("epochs=2 lr=1e-2", "mask{sparsity=0.5}")
    weight = fxc.compress(result, EXAMPLE, "bake").module.get_parameter("second.weight")
    assert abs(float((weight == 0).double().mean()) - 0.5) < 0.01
    zeros = fxc.compress(teacher(), EXAMPLE, "mask{sparsity=0.5},bake").module.get_parameter("second.weight") == 0
    assert torch.equal(zeros, weight == 0)


def test_another_model_learns_by_shape_and_order():
    torch.manual_seed(2)
    result = distilled("losses=soft,hint epochs=2", "", Named().eval(), teacher=teacher())
    assert result.stages[0].details["pairs"] == ["stem->first", "body->second"]
    assert set(result.module(EXAMPLE[0])) == {"logits", "features"}


def test_calibration_batches_without_labels():
    net = teacher()
    expected = by_hand(pruned(), lambda student, x, y: soft(student(x), net(x).detach()))
    result = distilled(PLAIN, train=None, calibration=[(x,) for x, _ in batches()])
    close(result.module, expected)


def test_a_student_on_smaller_images_learns_the_answers_for_the_originals():
    def half(image):
        return functional.avg_pool2d(image, 2)

    net = teacher()
    small = fxc.compress(teacher(), (half(EXAMPLE[0]),), PRUNE, seed=7)
    expected = by_hand(small.module, lambda student, x, y: soft(student(half(x)), net(x).detach()))
    result = fxc.compress(
        small,
        None,
        f"distill{{{PLAIN}}}",
        train=data(for_student=half),
        teacher=fxc.capture(net, EXAMPLE),
        seed=7,
    )
    close(result.module, expected)


def test_resumed_after_it_was_finished(tmp_path):
    first = distilled(f"losses=soft,hint epochs=2 resume={tmp_path}")
    again = distilled(f"losses=soft,hint epochs=2 resume={tmp_path}")
    assert any("went on" in note for note in again.stages[1].notes)
    close(again.module, first.module)
    other = distilled(f"losses=soft epochs=2 resume={tmp_path}")
    assert not any("went on" in note for note in other.stages[1].notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("losses=sfot", "did you mean 'soft'"),
        ("losses=soft:x", "has no weight"),
        ("losses=hint pairs=secnd", "second"),
        ("losses=hint pairs=second->frist", "first"),
        ("losses=hint pairs=head->second", r"shape \[4\] a sample, second of the teacher \[12, 4, 4\]"),
        ("logits=scores", "no result 'scores'"),
        ("mask=attention_mask", "no input 'attention_mask'"),
    ],
)
def test_errors_name_the_place_and_the_way_out(options, message):
    with pytest.raises(fxc.FxcompressError, match=message):
        distilled(options)


def test_predictions_before_the_end():
    class Shares(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = teacher()

        def forward(self, image):
            return self.inner(image).sigmoid()

    net = Shares().eval()
    student = fxc.compress(net, EXAMPLE, PRUNE, seed=7).module
    result = distilled("losses=soft logits=inner lr=1e-9", "", student, teacher=net)
    seen = {}
    net.inner.register_forward_hook(lambda module, given, made: seen.update(logits=made))
    x = batches()[-1][0]
    net(x)
    told = fxc.compress(teacher(), EXAMPLE, PRUNE, seed=7).module.train()
    assert result.stages[0].details["parts"]["soft"] == pytest.approx(
        float(soft(told(x), seen["logits"]).detach()), rel=1e-3
    )


def test_hard_needs_labels():
    with pytest.raises(fxc.FxcompressError, match="needs labels"):
        distilled("losses=hard", train=None, calibration=[(x,) for x, _ in batches()])
    with pytest.raises(fxc.FxcompressError, match="nothing to learn on"):
        distilled("losses=soft", train=None)


def test_padding_does_not_count():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.inner, self.head = nn.Embedding(9, 8), nn.Linear(8, 8), nn.Linear(8, 5)

        def forward(self, ids, attention_mask):
            return self.head(torch.relu(self.inner(self.words(ids))) * attention_mask[..., None])

    torch.manual_seed(0)
    net = Tokens().eval()
    ids, mask = torch.randint(9, (4, 6)), torch.ones(4, 6)
    mask[:, 4:] = 0
    student = copy.deepcopy(net)
    with torch.no_grad():
        student.head.bias.add_(1.0)
        student.inner.weight.mul_(0.3)
    inputs = {"ids": ids, "attention_mask": mask}
    text = "distill{losses=soft,hint pairs=inner mask=attention_mask temperature=1 lr=1e-9}"
    result = fxc.compress(student, inputs, text, train=fxc.TrainingData([(inputs, None)]), teacher=net)
    theirs, mine = (net(**inputs)[:, :4].reshape(-1, 5), student(**inputs)[:, :4].reshape(-1, 5))
    parts = result.stages[0].details["parts"]
    assert parts["soft"] == pytest.approx(float(soft(mine, theirs, 1.0).detach()), rel=1e-4)
    features = [one.inner(one.words(ids[:, :4])).detach() for one in (student, net)]
    expected = functional.mse_loss(*features) / features[1].square().mean()
    assert parts["hint"] == pytest.approx(float(expected), rel=1e-4)


def test_images_of_other_widths_are_students_of_their_own():
    torch.manual_seed(4)
    result = distilled("losses=hint,attention epochs=1", "", Images(5).eval(), teacher=teacher())
    assert result.stages[0].details["pairs"] == ["first", "second"]


def test_a_traced_teacher_is_captured():
    """A graph of modules has no taps: it is captured like any other model, and says so where that takes inputs."""
    traced = torch.fx.symbolic_trace(teacher())
    answers = fxc.LiveTeacher(traced, ["output"], EXAMPLE).answers(fxc.Inputs(*EXAMPLE))
    torch.testing.assert_close(answers["output"], teacher()(*EXAMPLE).detach())
    with pytest.raises(fxc.FxcompressError, match="has to be captured"):
        fxc.LiveTeacher(traced)
