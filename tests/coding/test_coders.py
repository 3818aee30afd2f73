"""Every coder gives back what it was given, to the bit, and refuses what it did not write."""

from __future__ import annotations

import contextlib
import random
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxcompress.coding import AUTO, CODERS, Block, check_coding, decode_block, encode_block, entropy_bytes
from fxcompress.errors import ArtifactError, UsageError

NAMES = list(CODERS)
examples = settings(deadline=None, max_examples=40)


def round_trip(values, shape, coding):
    """Code and decode; the result, the coder and the bytes."""
    name, data = encode_block(Block(values, shape), coding)
    out = np.full(values.size, 77, values.dtype)
    decode_block(name, bytes(data), out)
    return out, name, bytes(data)


def entropy(values):
    """Of the elements, in bytes, computed apart from the code."""
    counts = np.unique(values, return_counts=True)[1].astype(float)
    return float(-(counts * np.log2(counts / counts.sum())).sum() / 8)


@st.composite
def arrays(draw):
    """Elements of any width, of few or many values, sparse or not, in any shape."""
    width = draw(st.sampled_from((1, 2, 4, 8)))
    shape = tuple(draw(st.lists(st.integers(1, 12), max_size=4)))
    alphabet = draw(
        st.lists(st.integers(0, 256**width - 1), min_size=1, max_size=draw(st.sampled_from((1, 2, 5, 300))))
    )
    chance = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = chance.choice(np.array(alphabet, f"u{width}"), size=int(np.prod(shape)))
    values[chance.random(values.size) < draw(st.sampled_from((0, 0.5, 0.97)))] = alphabet[0]
    return values, shape


@examples
@given(arrays(), st.sampled_from((*NAMES, AUTO)))
def test_what_was_coded_comes_back(array, coding):
    values, shape = array
    out, name, data = round_trip(values, shape, coding)
    assert out.tobytes() == values.tobytes()
    assert len(data) <= values.nbytes
    assert name in (NAMES if coding == AUTO else (coding, "raw"))


@examples
@given(arrays())
def test_auto_is_never_longer_than_a_coder(array):
    values, shape = array
    best = min(len(round_trip(values, shape, name)[2]) for name in NAMES)
    assert len(round_trip(values, shape, AUTO)[2]) <= best


@pytest.mark.parametrize("coding", NAMES)
@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_one_symbol_takes_few_bytes(coding, width):
    values = np.full(100_000, 3, f"u{width}")
    out, _, data = round_trip(values, (100, 1000), coding)
    assert (out == 3).all()
    assert coding == "raw" or len(data) < 8 * width + 12


def test_every_byte_value_and_every_count():
    for coding in NAMES:
        for values in (np.arange(256, dtype="u1"), np.repeat(np.arange(200, dtype="u1"), np.arange(200))):
            assert (round_trip(values, values.shape, coding)[0] == values).all()


@pytest.mark.parametrize("density", [1.0, 0.1, 0.05, 0.02])
def test_within_three_hundredths_of_the_entropy(density):
    chance = np.random.default_rng(0)
    some = np.clip(np.rint(chance.normal(128, 4, 1 << 20)), 0, 255)
    values = np.where(chance.random(1 << 20) < density, some, 0).astype("u1")
    out, _, data = round_trip(values, (1024, 1024), AUTO)
    assert (out == values).all()
    assert len(data) < 1.03 * entropy(values)
    assert abs(entropy_bytes(values) - entropy(values)) < 1


def test_rows_and_columns_of_other_density_go_below_the_entropy():
    chance = np.random.default_rng(1)
    rows, columns = chance.random(200)[:, None] ** 2, chance.random(300)[None] ** 3
    values = np.where(chance.random((200, 300)) < rows * columns, chance.integers(1, 9, (200, 300)), 0).astype("u1")
    out, name, data = round_trip(values.reshape(-1), values.shape, AUTO)
    assert (out == values.reshape(-1)).all()
    assert name == "adaptive"
    assert len(data) < 0.92 * entropy(values)


def test_floats_of_a_network_go_below_deflate():
    values = np.random.default_rng(0).normal(0, 0.02, 100_000).astype("f4").view("u4")
    _, name, data = round_trip(values, (100_000,), AUTO)
    assert name == "planes"
    assert len(data) < len(zlib.compress(values.tobytes(), 9)) < values.nbytes


SAMPLES = {
    "sparse": np.where(np.random.default_rng(0).random(3000) < 0.1, np.random.default_rng(1).integers(1, 17, 3000), 0),
    "dense": np.random.default_rng(2).integers(0, 200, 3000),
    "same": np.full(3000, 9),
}


def damage(data, chance):
    """Return `data` with some bytes changed, most of them near the front where parameters stand, or cut."""
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 4))):
        damaged[chance.randrange(min(len(damaged), chance.choice((6, 60, 10**6))))] = chance.randrange(256)
    if chance.random() < 0.3:
        del damaged[chance.randrange(len(damaged)) :]
    return bytes(damaged)


@pytest.mark.parametrize("coding", NAMES)
@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("width", [1, 4])
def test_damaged_bytes_are_refused_or_give_an_array(coding, sample, width):
    """No hash stands before the coders here: whatever they meet, they end, and take little memory."""
    values, shape = SAMPLES[sample].astype(f"u{width}"), (30, 100)
    data = CODERS[coding].encode(Block(values, shape))
    chance = random.Random(0)
    out = np.empty_like(values)
    for index in range(30 if coding == "adaptive" else 60):
        if index % 10 == 0:
            tracemalloc.start()
        with contextlib.suppress(ArtifactError):
            decode_block(coding, damage(data, chance), out)
        if index % 10 == 0:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 4_000_000


@pytest.mark.parametrize("coding", NAMES)
def test_bytes_behind_the_end_are_refused(coding):
    values = SAMPLES["sparse"].astype("u1")
    data = bytes(CODERS[coding].encode(Block(values, (30, 100))))
    for wrong in (data + b"\0", data + b"\0\0", data[:-1], data[:-2], b""):
        with pytest.raises(ArtifactError):
            decode_block(coding, wrong, np.empty_like(values))


def test_an_unknown_coding_is_named():
    with pytest.raises(UsageError, match="did you mean 'huffman'"):
        check_coding("hufman")
    assert check_coding("none") == "none"
