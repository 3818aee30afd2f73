"""Time against calls that sleep for a known time; memory against sums of bytes by hand."""

import gc
import time

import pytest
import torch

from fxcompress.analysis.measure import latency, paired_latency, peak_memory, summary

KIB = 1024


def test_latency_of_a_known_wait():
    found = latency(lambda: time.sleep(0.01), rounds=7, budget_seconds=5)
    assert 0.01 <= found.low <= found.median <= found.high
    assert found.spread == found.high - found.low
    assert found.rounds == 7


def test_a_short_call_is_repeated_within_a_round():
    count = 0

    def call():
        nonlocal count
        count += 1

    found = latency(call, rounds=5, budget_seconds=5)
    assert found.median < 1e-3
    assert count > 5 * 10


def test_the_budget_ends_the_rounds_but_three_are_made():
    assert latency(lambda: time.sleep(0.02), rounds=1000, budget_seconds=0.3).rounds < 20
    assert latency(lambda: time.sleep(0.02), budget_seconds=0).rounds == 3


def test_calls_take_turns():
    order = []
    calls = {name: (lambda name=name: (order.append(name), time.sleep(0.002))) for name in "ab"}
    found = paired_latency(calls, rounds=6, budget_seconds=10)
    assert set(found) == {"a", "b"}
    assert order[-12:] == ["a", "b", "b", "a"] * 3
    assert min(found["a"].low, found["b"].low) >= 0.002


def test_drift_hits_all_alike():
    start = time.perf_counter()

    def slower_and_slower():
        time.sleep(0.001 + 0.01 * (time.perf_counter() - start))

    found = paired_latency({"one": slower_and_slower, "two": slower_and_slower}, rounds=30, budget_seconds=1)
    assert found["one"].median == pytest.approx(found["two"].median, rel=0.5)


def test_the_collector_is_put_back_and_errors_pass_through():
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        latency(lambda: 1 / 0)
    assert gc.isenabled()


def test_quartiles():
    found = summary([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (found.low, found.median, found.high, found.rounds) == (2, 3, 4, 5)
    assert summary([2.0]).spread == 0


def test_peak_memory_by_hand():
    x = torch.ones(64, 4)  # one KiB

    def chain():
        y = x + 1  # 1
        z = torch.relu(y)  # 2
        del y
        w = torch.cat([z, z, z])  # 1 + 3
        del z
        return (w * 2).sum()  # 3 + 3, then a number beside w and the product

    assert peak_memory(chain) == 6 * KIB + 4


def test_views_and_writing_in_place_take_nothing():
    x = torch.ones(64, 4)
    assert peak_memory(lambda: x.t()[:2].reshape(-1).add_(0).view(2, -1)) <= KIB
    assert peak_memory(lambda: x.t().view(4, 64)[1:]) == 0
    assert peak_memory(lambda: x.mul_(2)) == 0


def test_what_stood_before_is_not_counted_and_what_stays_is():
    kept = []
    assert peak_memory(lambda: kept.extend(torch.empty(256) for _ in range(3))) == 3 * KIB
    assert peak_memory(lambda: kept[0] + 1) == KIB
    assert peak_memory(kept.clear) == 0


def test_a_storage_that_grows_is_followed():
    assert peak_memory(lambda: torch.empty(256).resize_(1024)) == 4 * KIB


def test_what_the_backward_pass_holds_is_counted():
    x = torch.ones(256, requires_grad=True)

    def forward():
        return x.exp().exp().exp().exp()

    # `exp` keeps its result for the gradient.
    assert peak_memory(forward) == 4 * KIB
    with torch.no_grad():
        assert peak_memory(forward) == 2 * KIB


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_peak_memory_and_latency_on_cuda():
    x = torch.ones(1 << 20, device="cuda")
    assert peak_memory(lambda: (x + 1) * 2, device="cuda") == 2 * 4 << 20
    found = latency(lambda: x @ x, device="cuda", rounds=5)
    assert 0 < found.median < 0.01
