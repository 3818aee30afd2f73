"""Two processes come to what one comes to: the same bits for ranges and norms, to rounding else."""

from __future__ import annotations

import jobs
import pytest
import tasks
import torch
from processes import found_of, run_ranks
from torch import nn

import fxcompress as fxc


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    return [{**found, "folder": folder} for found in found_of(run_ranks(2, "compare", folder))]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def same_tensors(ours, theirs):
    assert ours.keys() == theirs.keys()
    return [name for name in ours if not torch.equal(ours[name], theirs[name])]


def near(ours, theirs, tolerance):
    assert ours.keys() == theirs.keys()
    for name, one in ours.items():
        torch.testing.assert_close(one, theirs[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


def test_observers_have_the_same_bits(ranks):
    alone = tasks.observers()
    for found in ranks:
        for name, nodes in alone.items():
            for node, ((scales, zeros), histogram, batches) in nodes.items():
                (shared_scales, shared_zeros), shared_histogram, shared_batches = found["observers"][name][node]
                assert shared_batches == batches == len(tasks.SIZES)
                # A moving average is a sum of floats, whose order is another one.
                close = {"rtol": 1e-6, "atol": 0} if name == "moving-average" else {"rtol": 0, "atol": 0}
                torch.testing.assert_close(shared_scales, scales, **close)
                assert torch.equal(shared_zeros, zeros)
                if histogram is not None:
                    assert torch.equal(shared_histogram.counts, histogram.counts)


def test_a_range_is_that_of_all_values_together(ranks):
    seen = {}
    module = tasks.captured().module
    for x in tasks.images():
        torch.fx.Interpreter(module).run(x, enable_io_processing=False)
    whole = torch.cat(tasks.images())
    values = run_to(module, whole, list(ranks[0]["observers"]["minmax"]))
    for node, value in values.items():
        least, most = min(float(value.min()), 0.0), max(float(value.max()), 0.0)
        seen[node] = (most - least) / 255
        assert float(ranks[1]["observers"]["minmax"][node][0][0]) == pytest.approx(seen[node], rel=1e-5)
    assert seen


def run_to(module, given, names):
    found = {}

    class Looking(torch.fx.Interpreter):
        def run_node(self, n):
            value = super().run_node(n)
            if n.name in names:
                found[n.name] = value
            return value

    with torch.no_grad():
        Looking(module).run(given, enable_io_processing=False)
    return found


@pytest.mark.parametrize("pipeline", tasks.EXACT)
def test_what_counts_and_extremes_decide_is_the_same_to_the_bit(ranks, pipeline):
    alone = tasks.compressed(pipeline, evaluate=tasks.evaluate)
    for found in ranks:
        assert not same_tensors(found["pipelines"][pipeline]["tensors"], alone["tensors"])


@pytest.mark.parametrize("pipeline", tasks.CLOSE)
def test_what_sums_of_floats_decide_is_the_same_to_rounding(ranks, pipeline):
    alone = tasks.compressed(pipeline, evaluate=tasks.evaluate)
    first, second = (found["pipelines"][pipeline] for found in ranks)
    assert not same_tensors(first["tensors"], second["tensors"])
    assert first["notes"] == second["notes"]
    near(first["tensors"], alone["tensors"], 1e-4)
    assert flat(first["details"]) == pytest.approx(flat(alone["details"]), rel=1e-3, abs=1e-5, nan_ok=True)


def flat(nest, path=""):
    """The numbers in a nest, by their places."""
    if isinstance(nest, dict):
        return {key: value for name, one in nest.items() for key, value in flat(one, f"{path}/{name}").items()}
    if isinstance(nest, (list, tuple)):
        return flat(dict(enumerate(nest)), path)
    return {path: float(nest)} if isinstance(nest, (int, float)) else {}


def test_training_is_that_of_whole_batches(ranks):
    """Batches of 6, 6, 3, 6 and 1: the last is smaller than there are processes."""
    by_hand = tasks.trained_by_hand()
    for found in ranks:
        near(found["trained"]["tensors"], by_hand["tensors"], 1e-9)
        assert found["trained"]["losses"] == pytest.approx(by_hand["losses"], rel=1e-9)
    assert not same_tensors(ranks[0]["trained"]["tensors"], ranks[1]["trained"]["tensors"])


def test_batches_of_each_ranks_own_are_one_batch(ranks):
    """The second rank has a batch less, and the parts are of different sizes."""
    parts = [[part for part in batch if part is not None] for batch in jobs.sharded_rows()]
    rows = [(torch.cat([x for x, _ in batch]), torch.cat([y for _, y in batch])) for batch in parts]
    by_hand = tasks.trained_by_hand(rows=rows)
    for found in ranks:
        near(found["sharded"]["tensors"], by_hand["tensors"], 1e-9)
        assert found["sharded"]["losses"] == pytest.approx(by_hand["losses"], rel=1e-9)


def test_batch_norm_is_that_of_the_whole_batch(ranks):
    given = torch.cat([found["norm"][0] for found in ranks]).requires_grad_()
    norm = nn.BatchNorm1d(4, dtype=torch.float64)
    out = norm(given)
    out.pow(3).sum().backward()
    close = {"rtol": 1e-10, "atol": 1e-12}
    torch.testing.assert_close(torch.cat([found["norm"][1] for found in ranks]), out.detach(), **close)
    torch.testing.assert_close(torch.cat([found["norm"][2] for found in ranks]), given.grad, **close)
    for found in ranks:
        torch.testing.assert_close(found["norm"][3], norm.running_mean, **close)
        torch.testing.assert_close(found["norm"][4], norm.running_var, **close)
    for place, whole in ((5, norm.weight.grad), (6, norm.bias.grad)):
        torch.testing.assert_close(sum(found["norm"][place] for found in ranks), whole, **close)


WORDS = {
    "nan": "calibration batch 4: .*hold NaN",
    "other data": "batch 0 of the calibration data is another one on rank 1",
    "other rows": "training data of rank 1 is other than that of rank 0",
    "no rows": "rank 1 has no batches",
    "other pass": "Drifting.*'head.weight' of rank 1 is other than that of rank 0",
    "other model": "'stem.weight' of rank 1 is other than that of rank 0",
}


@pytest.mark.parametrize("case", WORDS)
def test_what_is_wrong_on_one_rank_is_raised_on_all(ranks, case):
    for found in ranks:
        with pytest.raises(fxc.FxcompressError, match=f"(?s){WORDS[case]}"):
            raise fxc.FxcompressError(found["errors"][case])


def test_the_first_rank_writes(ranks):
    written = sorted(path.name for path in ranks[0]["folder"].glob("*.fxc"))
    assert written == ["saved-by-0.fxc"]
    assert [found["saved"]["shared"] for found in ranks] == [(2, 0), (2, 1)]
    assert [found["saved"]["said"] for found in ranks] == [(1, True)] * 2
    module, x = fxc.load(ranks[0]["folder"] / written[0]).captured.module, tasks.images()[0]
    torch.testing.assert_close(module(x), tasks.net()(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", jobs.NETS)
def test_sharded_modules_train_as_whole_ones_do_and_hold_half_of_the_parameters(ranks, name):
    captured = tasks.captured_words() if name == "words" else tasks.captured()
    alone = tasks.trained_whole(captured)
    rows = [found["sharding"][name] for found in ranks]
    assert [sum(pair) / 2 for pair in zip(*(row["losses"] for row in rows), strict=True)] == pytest.approx(
        alone["losses"], rel=1e-5
    )
    assert sum(row["own"] for row in rows) == rows[0]["whole"]
    assert max(row["own"] for row in rows) <= 0.55 * rows[0]["whole"]
    near(rows[0]["tensors"], alone["tensors"], 1e-5)
    assert rows[1]["tensors"] == {}
    for row in rows:
        torch.testing.assert_close(row["results"], alone["results"], rtol=1e-5, atol=1e-5)
