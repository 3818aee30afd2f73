"""Argument values survive the way through JSON, and what is no argument is refused."""

from __future__ import annotations

import contextlib
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fxcompress.errors import ArtifactError
from fxcompress.targets import arguments
from fxcompress.targets.json_text import dump, parse

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.text(alphabet=st.characters()),
    st.just(...),
    st.sampled_from([torch.float32, torch.bfloat16, torch.int8, torch.float8_e4m3fn, torch.bool, torch.complex64]),
    st.sampled_from([torch.strided, torch.contiguous_format, torch.preserve_format, torch.channels_last]),
    st.sampled_from([torch.device("cpu"), torch.device("meta")]),
)
PLAIN = st.one_of(st.none(), st.integers(-9, 9))
NESTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=5), inner, max_size=4),
        st.builds(slice, PLAIN, PLAIN, PLAIN),
    ),
    max_leaves=20,
)


def same(one, other):
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, complex):
        return same(one.real, other.real) and same(one.imag, other.imag)
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (one, math.copysign(1, one)) == (
            other,
            math.copysign(1, other),
        )
    return one == other


@settings(max_examples=400, deadline=None)
@given(NESTS)
def test_every_value_comes_back(value):
    assert same(arguments.decode(parse(dump(arguments.encode(value)), "a value")), value)


@settings(max_examples=400, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.text(max_size=8)
                | st.sampled_from(
                    [
                        "tuple",
                        "slice",
                        "dict",
                        "float",
                        "dtype",
                        "node",
                        "complex",
                        "layout",
                        "device",
                        "ellipsis",
                        "memory_format",
                    ]
                ),
                inner,
                max_size=2,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_value_or_an_error(value):
    with contextlib.suppress(ArtifactError):
        assert arguments.encode(arguments.decode(value)) is not Ellipsis


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        b"bytes",
        range(3),
        2**64,
        -(2**63) - 1,
        torch.Size,
        torch.sparse_coo,
        "x" * 20_000,
        [[]] * 2 + [print],
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_form_is_refused(value):
    with pytest.raises(ArtifactError):
        arguments.decode(arguments.encode(value))


def test_nests_are_bounded_on_both_ways():
    deep, text = [], []
    for _ in range(40):
        deep, text = [deep], [text]
    with pytest.raises(ArtifactError, match="nests deeper"):
        arguments.encode(deep)
    with pytest.raises(ArtifactError, match="nests deeper"):
        arguments.decode(text)


def test_a_size_is_a_tuple_and_a_device_is_the_cpu():
    assert arguments.decode(arguments.encode(torch.Size([1, 2]))) == (1, 2)
    assert arguments.decode(arguments.encode(torch.device("cuda:1"))) == torch.device("cpu")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1,]",
        '{"a":1,"a":2}',
        "NaN",
        "-Infinity",
        "1e999",
        "9" * 5000,
        "[" * 100_000,
        '"' + '\\"' * 100_000,
        '"\\',
    ],
    ids=["empty", "open", "comma", "twice", "nan", "infinity", "large", "digits", "deep", "quotes", "escape"],
)
def test_text_that_is_no_plain_json_is_refused(text):
    with pytest.raises(ArtifactError):
        parse(text, "the text")


def test_brackets_in_strings_are_no_depth():
    assert parse('["' + "[" * 1000 + '\\"]"]', "the text") == ["[" * 1000 + '"]']
