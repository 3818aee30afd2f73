"""The plan goes with the artifact, serves for another checkpoint, and is never anything but a plan."""

from __future__ import annotations

import copy
import json
import random

import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.errors import ArtifactError
from fxcompress.targets import load_artifact, save_artifact
from targets.forge import pack, unpack
from targets.test_mutations import change

PLAN = {
    "inner.weight": {0: [0, 1, 3], 1: [1, 2]},
    "inner.bias": {0: [0, 1, 3]},
    "grouped.weight": {0: [0, 1, 3, 4], 1: ([0, 2], [1, 2])},
}


class Net(nn.Module):
    """Convolution, batch norm, a residual sum, attention with two heads."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.inner = nn.Conv2d(16, 16, 3, padding=1)
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.head = nn.Linear(16, 5)

    def forward(self, image):
        x = self.norm(self.stem(image))
        x = (x + self.inner(torch.relu(x))).flatten(2).transpose(1, 2)
        q, k, v = (layer(x).unflatten(-1, (4, 4)).transpose(1, 2) for layer in (self.query, self.key, self.value))
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.head(y.transpose(1, 2).flatten(2).mean(1))


def tensors_of(module):
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def checkpoint(seed):
    torch.manual_seed(seed)
    model = Net().double().eval()
    model.norm.running_mean.normal_()
    model.norm.running_var.uniform_(0.5, 2)
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """An artifact of a pruned checkpoint, what was removed of it, and its inputs."""
    image = torch.randn(3, 3, 6, 6, dtype=torch.float64)
    result = fxc.compress(checkpoint(0), (image,), "prune{ratio=0.5 exact=true round_to=1}")
    path = tmp_path_factory.mktemp("plan") / "pruned.fxc"
    result.save(path)
    return path, result, image


def test_what_was_saved_is_loaded(saved):
    path, result, _ = saved
    plan = fxc.load(path).plan
    assert plan == result.plan
    assert {"stem.weight", "norm.running_mean", "query.weight", "head.weight"} <= set(plan)
    assert all(type(dim) is int for dims in plan.values() for dim in dims)


def test_the_plan_of_a_file_makes_another_checkpoint_equal_to_its_masked_self(saved):
    path, result, image = saved
    other = checkpoint(1)
    pruned = fxc.apply_plan(fxc.capture(other, (image,)), fxc.load(path).plan)
    masked = copy.deepcopy(other)
    with torch.no_grad():
        for name, dims in result.stages[0].details["removed"].items():
            for dim, positions in dims.items():
                tensors_of(masked)[name].index_fill_(dim, torch.tensor(positions), 0)
        want, got = masked(image), pruned(image)
    assert float((got - want).abs().max()) <= 1e-10 * float(want.abs().max())
    assert sum(p.numel() for p in pruned.module.parameters()) < 0.6 * sum(p.numel() for p in other.parameters())
    for name, dims in fxc.load(path).plan.items():
        assert all(tensors_of(pruned.module)[name].shape[dim] == len(kept) for dim, kept in dims.items())


def test_nothing_pruned_and_old_files_have_an_empty_plan(tmp_path):
    result = fxc.compress(nn.Linear(4, 4), (torch.randn(2, 4),), "mask{sparsity=0.5}")
    result.save(tmp_path / "masked.fxc")
    assert fxc.load(tmp_path / "masked.fxc").plan == {}
    assert "plan" not in unpack((tmp_path / "masked.fxc").read_bytes())[1]


def test_steps_are_put_together_and_the_same_bytes_come_out(saved, tmp_path):
    image = saved[2]
    for name in ("one.fxc", "two.fxc"):
        torch.manual_seed(3)
        model = checkpoint(0)
        fxc.compress(model, (image,), "prune{ratio=0.25 round_to=1}, prune{ratio=0.25 round_to=1}").save(
            tmp_path / name
        )
    assert (tmp_path / "one.fxc").read_bytes() == (tmp_path / "two.fxc").read_bytes()
    loaded = fxc.load(tmp_path / "one.fxc")
    for name, dims in loaded.plan.items():
        left = tensors_of(model)[name]
        for dim, kept in dims.items():
            left = left.index_select(dim, torch.tensor(kept))
        assert torch.equal(left, tensors_of(loaded.module)[name])


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "good.fxc"
    save_artifact(path, fxc.capture(nn.Linear(4, 4), (torch.randn(2, 4),)).module, plan=PLAN)
    assert load_artifact(path).plan == PLAN
    return unpack(path.read_bytes())


BAD = {
    "no object": [],
    "a text": "x",
    "no kept": {"tensors": {}},
    "no tensors": {"kept": []},
    "another field": {"kept": [], "tensors": {}, "more": 1},
    "kept is an object": {"kept": {}, "tensors": {}},
    "positions are a number": {"kept": [1], "tensors": {"a": {"0": 0}}},
    "no positions": {"kept": [[]], "tensors": {"a": {"0": 0}}},
    "negative": {"kept": [[-1, 0]], "tensors": {"a": {"0": 0}}},
    "a truth": {"kept": [[True]], "tensors": {"a": {"0": 0}}},
    "a fraction": {"kept": [[0.0]], "tensors": {"a": {"0": 0}}},
    "a text among positions": {"kept": [["0"]], "tensors": {"a": {"0": 0}}},
    "twice": {"kept": [[1, 1]], "tensors": {"a": {"0": 0}}},
    "descending": {"kept": [[2, 1]], "tensors": {"a": {"0": 0}}},
    "too large": {"kept": [[2**31]], "tensors": {"a": {"0": 0}}},
    "positions of nothing": {"kept": [[0], [1]], "tensors": {"a": {"0": 0}}},
    "no dims": {"kept": [], "tensors": {"a": {}}},
    "dims are a list": {"kept": [[0]], "tensors": {"a": [0]}},
    "a negative dim": {"kept": [[0]], "tensors": {"a": {"-1": 0}}},
    "a dim in words": {"kept": [[0]], "tensors": {"a": {"one": 0}}},
    "a dim with a zero": {"kept": [[0]], "tensors": {"a": {"00": 0}}},
    "a large dim": {"kept": [[0]], "tensors": {"a": {"64": 0}}},
    "a huge dim": {"kept": [[0]], "tensors": {"a": {"9" * 5000: 0}}},
    "a place that is not there": {"kept": [[0]], "tensors": {"a": {"0": 1}}},
    "a place before the first": {"kept": [[0]], "tensors": {"a": {"0": -1}}},
    "a place that is a truth": {"kept": [[0]], "tensors": {"a": {"0": False}}},
    "positions in place": {"kept": [[0]], "tensors": {"a": {"0": [0]}}},
    "a quote in a name": {"kept": [[0]], "tensors": {'a"': {"0": 0}}},
    "a line in a name": {"kept": [[0]], "tensors": {"a\n": {"0": 0}}},
    "no name": {"kept": [[0]], "tensors": {"": {"0": 0}}},
    "runs of dim 0": {"kept": [[0, 1], [1, 2]], "tensors": {"a": {"0": [0, 1]}}},
    "runs without rows": {"kept": [[0, 1], [1, 2]], "tensors": {"a": {"1": [0, 1]}}},
    "one run": {"kept": [[0, 1], [2]], "tensors": {"a": {"0": 0, "1": [1]}}},
    "no run": {"kept": [[0, 1]], "tensors": {"a": {"0": 0, "1": []}}},
    "rows that three runs do not share": {"kept": [[0, 1], [2]], "tensors": {"a": {"0": 0, "1": [1, 1, 1]}}},
    "runs of other lengths": {"kept": [[0, 1], [2]], "tensors": {"a": {"0": 0, "1": [0, 1]}}},
    "runs in runs": {"kept": [[0, 1]], "tensors": {"a": {"0": 0, "1": [[0, 0], 0]}}},
    "a run that is a truth": {"kept": [[0, 1], [2, 3]], "tensors": {"a": {"0": 0, "1": [1, True]}}},
    "a long name": {"kept": [[0]], "tensors": {"a" * 2000: {"0": 0}}},
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_plan_is_refused(good, tmp_path, what):
    metadata, document, blobs = good
    (tmp_path / "bad.fxc").write_bytes(pack(metadata, {**document, "plan": BAD[what]}, blobs))
    with pytest.raises(ArtifactError) as caught:
        load_artifact(tmp_path / "bad.fxc")
    assert caught.value.hint
    assert len(str(caught.value)) < 2500


def runs_of(places):
    return places if isinstance(places, tuple) else (places,)


def are_positions(kept):
    return kept and kept == sorted(set(kept)) and kept[0] >= 0 and all(type(one) is int for one in kept)


def fit(rows, dims):
    return len({len(row) for row in rows}) == 1 < len(rows) and len(dims[0]) % len(rows) == 0


def is_plan(plan):
    return all(
        type(name) is str
        and len(name) <= 1000
        and dims
        and all(type(dim) is int and 0 <= dim < 64 for dim in dims)
        and all(rows and all(map(are_positions, rows)) for rows in map(runs_of, dims.values()))
        and all(fit(runs_of(places), dims) for places in dims.values() if isinstance(places, tuple))
        for name, dims in plan.items()
    )


def test_changes_of_the_plan_are_refused_or_give_a_plan(good, tmp_path):
    metadata, document, blobs = good
    chance = random.Random(3)
    path = tmp_path / "changed.fxc"
    loaded = 0
    for _ in range(400):
        changed = {"plan": copy.deepcopy(document["plan"])}
        for _ in range(chance.choice((1, 1, 2))):
            if changed:
                change(changed, chance)
        path.write_bytes(pack(metadata, {**document, **changed}, blobs))
        try:
            plan = load_artifact(path).plan
        except ArtifactError:
            continue
        loaded += 1
        assert is_plan(plan), json.dumps(changed)
    assert 0 < loaded < 200


def test_what_is_no_plan_is_not_saved(tmp_path):
    module = fxc.capture(nn.Linear(4, 4), (torch.randn(2, 4),)).module
    for plan in ({"a": {0: [1, 0]}}, {"a": {0: []}}, {"a": {64: [0]}}, {"a\\": {0: [0]}}):
        with pytest.raises(ArtifactError, match="plan"):
            save_artifact(tmp_path / "x.fxc", module, plan=plan)
    assert not (tmp_path / "x.fxc").exists()


def test_a_plan_of_many_coupled_tensors_is_small(tmp_path):
    """Positions stand there once, however many tensors keep them."""
    module = fxc.capture(nn.Linear(4, 4), (torch.randn(2, 4),)).module
    kept = list(range(0, 20_000, 2))
    save_artifact(tmp_path / "x.fxc", module, plan={f"layer.{i}": {0: list(kept), 1: list(kept)} for i in range(200)})
    assert (tmp_path / "x.fxc").stat().st_size < 200_000
    assert load_artifact(tmp_path / "x.fxc").plan["layer.199"] == {0: kept, 1: kept}
