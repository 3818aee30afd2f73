"""Observers: shards merge into the whole, and ranges are those of numpy and of brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fxcompress.calibration import (
    OBSERVERS,
    Entropy,
    Mean,
    MeanSquaredError,
    MinMax,
    MovingAverage,
    Observer,
    Percentile,
)
from fxcompress.calibration.clipping import Clipping
from fxcompress.calibration.histogram import BINS, HALF, Histogram
from fxcompress.errors import InputError, UsageError

values = st.floats(-(2.0**100), 2.0**100, width=32)
batches = st.lists(st.lists(values, min_size=1, max_size=12), min_size=1, max_size=6)
several = st.lists(st.lists(st.tuples(values, values, values), min_size=1, max_size=6), min_size=1, max_size=5)


def seen(observer: Observer, rows: list) -> Observer:
    for row in rows:
        observer.update(torch.tensor(row))
    return observer


def numbers(observer: Observer) -> list[torch.Tensor]:
    """All that an observer has gathered."""
    if isinstance(observer, Clipping):
        histogram = observer.histogram
        return [histogram.exponents, histogram.counts, histogram.least, histogram.most]
    if isinstance(observer, MovingAverage):
        return [observer.sums, torch.tensor(observer.weight)]
    return [observer.least, observer.most]


@pytest.mark.parametrize("name", OBSERVERS)
@settings(max_examples=60, deadline=None)
@given(batches, st.data())
def test_shards_merge_into_the_whole(name, rows, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    shards = [rows[start:end] for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    whole, merged = seen(OBSERVERS[name](), rows), OBSERVERS[name]()
    for shard in shards:
        merged.merge(seen(OBSERVERS[name](), shard))
    assert merged.batches == whole.batches == len(rows)
    for one, other in zip(numbers(whole), numbers(merged), strict=True):
        if name == "moving-average":
            assert torch.allclose(one, other, rtol=1e-12, atol=1e-300)
        else:
            assert torch.equal(one, other)


@pytest.mark.parametrize("kind", [MinMax, Percentile])
@settings(max_examples=30, deadline=None)
@given(several)
def test_shards_of_channels_merge_in_any_order(kind, rows):
    whole, merged = seen(kind(axis=1), rows), kind(axis=1)
    for row in reversed(rows):
        merged.merge(seen(kind(axis=1), [row]))
    for one, other in zip(numbers(whole), numbers(merged), strict=True):
        assert torch.equal(one, other)


@settings(max_examples=60, deadline=None)
@given(batches)
def test_counts_are_numpys(rows):
    histogram = seen(Percentile(), rows).histogram
    everything = np.concatenate([np.array(row, dtype=np.float32).astype(np.float64) for row in rows])
    width = 2.0 ** int(histogram.exponents[0])
    counts, _ = np.histogram(everything, bins=np.arange(-HALF, HALF + 1) * width)
    assert counts.sum() == len(everything)
    assert np.array_equal(counts, histogram.counts[0].numpy())
    largest = np.abs(everything).max()
    assert largest == 0 or HALF / 2 <= largest / width <= HALF


@settings(max_examples=60, deadline=None)
@given(batches, st.floats(51, 100))
def test_percentiles_are_numpys_to_within_a_bin(rows, percent):
    observer = seen(Percentile(percent=percent), rows)
    everything = np.concatenate([np.array(row, dtype=np.float32).astype(np.float64) for row in rows])
    width = 2.0 ** int(observer.histogram.exponents[0])
    least, most = observer.range(0, 255, symmetric=False)
    for found, share in ((least, 1 - percent / 100), (most, percent / 100)):
        # The value of a rank that rounding moves by one counts too.
        near = [
            np.quantile(everything, min(max(share + shift, 0), 1), method="inverted_cdf") for shift in (-1e-9, 1e-9)
        ]
        assert min(near) - width <= float(found[0]) <= max(near) + width
    if percent == 100:
        assert (float(least[0]), float(most[0])) == (everything.min(), everything.max())


@pytest.mark.parametrize("name", OBSERVERS)
@pytest.mark.parametrize(("low", "high", "symmetric"), [(0, 255, False), (-128, 127, False), (-127, 127, True)])
@settings(max_examples=20, deadline=None)
@given(batches)
def test_parameters_hold_zero_and_the_range(name, low, high, symmetric, rows):
    observer = seen(OBSERVERS[name](), rows)
    scales, zeros = observer.parameters(low, high, symmetric=symmetric)
    assert scales.dtype == torch.float32
    assert zeros.dtype == torch.int32
    assert float(scales[0]) > 0
    assert low <= int(zeros[0]) <= high
    if symmetric:
        assert int(zeros[0]) == 0
    least, most = observer.range(low, high, symmetric=symmetric)
    scale, zero = float(scales[0]), int(zeros[0])
    # Every value of the range is within half a step of what the integers can say.
    for value in (float(least[0]), 0.0, float(most[0])):
        said = (min(max(round(value / scale) + zero, low), high) - zero) * scale
        assert abs(said - value) <= scale / 2 * (1 + 1e-5) + 1e-37


def test_a_moving_average_is_that_of_the_recursion():
    rows = torch.randn(7, 20, dtype=torch.double)
    observer = seen(MovingAverage(rate=0.3), rows.tolist())
    weights = 0.7 ** np.arange(6, -1, -1)
    expected = np.average(rows.amax(1).numpy(), weights=weights)
    assert float(observer.range(0, 255, symmetric=False)[1]) == pytest.approx(expected, rel=1e-6)


def error(sample: np.ndarray, least: float, most: float) -> float:
    scale = (most - least) / 255
    zero = round(-least / scale)
    return float((((np.clip(np.round(sample / scale) + zero, 0, 255) - zero) * scale - sample) ** 2).mean())


def test_the_squared_error_is_the_least_of_all_ranges():
    sample = np.random.default_rng(0).standard_t(3, 20_000)
    observer = seen(MeanSquaredError(), [sample.tolist()])
    (least,), (most,) = observer.range(0, 255, symmetric=False)
    ends = [(low, high) for low in np.linspace(sample.min(), -1, 60) for high in np.linspace(1, sample.max(), 60)]
    best = min(error(sample, low, high) for low, high in ends)
    assert error(sample, float(least), float(most)) <= 1.02 * best
    assert error(sample, float(least), float(most)) < 0.97 * error(sample, sample.min(), sample.max())


def test_entropy_cuts_off_outliers_and_keeps_what_is_uniform():
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(50_000, generator=generator) * 2 - 1
    normal = torch.randn(50_000, generator=generator)
    normal[0] = 60.0
    (least,), (most,) = seen(Entropy(), [uniform.tolist()]).range(0, 255, symmetric=False)
    assert float(least) < -0.95
    assert float(most) > 0.95
    (least,), (most,) = seen(Entropy(), [normal.tolist()]).range(-127, 127, symmetric=True)
    assert 3 < float(most) < 30
    assert float(least) == -float(most)


def test_zeros_do_not_hide_what_entropy_cuts_off():
    """Behind a ReLU the range is that of the numbers that are not zero, however many zeros there are."""
    torch.manual_seed(0)
    values = torch.relu(torch.randn(100_000) - 1.5)

    def largest(given):
        observer = Entropy()
        observer.update(given)
        return float(observer.parameters(0, 255, symmetric=False)[0]) * 255

    assert abs(largest(values) - largest(values[values > 0])) < 0.02 * largest(values)


def test_what_has_no_range_is_an_error():
    observer = Percentile(axis=1)
    with pytest.raises(UsageError, match="has seen nothing"):
        observer.parameters(0, 255, symmetric=False)
    for bad, why in (
        (torch.empty(0, 3), "without values"),
        (torch.tensor([[1.0, float("nan")]]), "not finite"),
        (torch.tensor([[1.0, float("inf")]]), "not finite"),
        (torch.tensor(1.0), "no axis 1"),
    ):
        with pytest.raises(InputError, match=why):
            observer.update(bad)
    observer.update(torch.randn(2, 3))
    with pytest.raises(InputError, match="4 channels, 3 before"):
        observer.update(torch.randn(2, 4))
    assert observer.batches == 1
    with pytest.raises(UsageError, match="does not merge"):
        observer.merge(Percentile(axis=0))


def test_bins_grow_without_moving_a_count():
    small, large = torch.tensor([[0.25, -0.25, 1e-3, -1e-3]], dtype=torch.double), torch.tensor([[3e9]]).double()
    histogram = Histogram.of(small)
    histogram.merge(Histogram.of(large))
    assert torch.equal(histogram.counts, Histogram.of(torch.cat((small, large), 1)).counts)
    assert histogram.counts.shape == (1, BINS)
    assert int(histogram.counts[0, HALF - 1]) == int(histogram.counts[0, HALF]) == 2


@settings(max_examples=30, deadline=None)
@given(several)
def test_means_are_numpys_and_merge(rows):
    whole, merged = Mean(-1), Mean(-1)
    for row in rows:
        shard = Mean(-1)
        shard.update(torch.tensor(row))
        merged.merge(shard)
        whole.update(torch.tensor(row))
    everything = np.concatenate([np.array(row, dtype=np.float32).astype(np.float64) for row in rows])
    scale = np.abs(everything).max()
    assert np.allclose(whole.value().numpy(), everything.mean(0), rtol=1e-9, atol=1e-12 * scale)
    assert torch.equal(whole.value(), merged.value())
