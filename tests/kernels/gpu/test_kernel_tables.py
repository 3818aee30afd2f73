"""Tables of configurations: reading, writing, which row counts, and what is done without one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxcompress.errors import UsageError
from fxcompress.kernels.gpu import configurations, table_files
from fxcompress.kernels.gpu.configurations import KERNELS, configuration, estimated, sizes_of
from fxcompress.kernels.gpu.table_files import SHIPPED, Config, Row, Table, read_table

FIRST, SECOND, THIRD = Config(16, 64, 128, 4), Config(16, 128, 128), Config(64, 128, 64)
TABLE = Table(
    "a GPU",
    True,
    {"weight-only-4": 100},
    {
        "weight-only-4": [
            Row(16, 4096, 4096, 128, FIRST),
            Row(16, 16384, 4096, 128, SECOND),
            Row(64, 4096, 4096, 128, THIRD),
        ]
    },
)


@pytest.fixture
def own_tables(tmp_path, monkeypatch):
    monkeypatch.setenv(table_files.OWN_TABLES, str(tmp_path))
    for cached in (configuration, configurations.dequantize_from, table_files._table_in):
        cached.cache_clear()
    yield tmp_path
    for cached in (configuration, configurations.dequantize_from, table_files._table_in):
        cached.cache_clear()


def test_a_table_comes_back(tmp_path):
    TABLE.write(tmp_path / "sm_90.json")
    assert read_table(tmp_path / "sm_90.json") == TABLE


@pytest.mark.parametrize(
    ("m", "n", "k", "group", "want"),
    [
        (1, 4096, 4096, 128, FIRST),
        (16, 5000, 4000, 128, FIRST),
        (16, 11008, 4096, 128, SECOND),
        (17, 4096, 4096, 128, THIRD),
        (500, 4096, 4096, 128, THIRD),
        (1, 4096, 4096, 64, None),
        (1, 512, 512, 128, None),
    ],
)
def test_the_nearest_row_of_the_bucket_counts(m, n, k, group, want):
    assert TABLE.find("weight-only-4", m, n, k, group) == want
    assert TABLE.find("int8", m, n, k, group) is None


def test_the_users_table_goes_first(own_tables):
    TABLE.write(own_tables / "sm_90.json")
    assert configuration("weight-only-4", (9, 0), 3, 4096, 4096, 128) == FIRST
    assert configurations.dequantize_from("weight-only-4", (9, 0)) == 100
    assert configurations.dequantize_from("weight-only-8", (9, 0)) == configurations.DEQUANTIZE_FROM
    # Another generation has the shipped table, and one that nobody measured an estimate.
    assert table_files.table_for((8, 0)) == read_table(SHIPPED / "sm_80.json")
    assert configuration("int8", (12, 0), 64, 4096, 4096) == estimated("int8", sizes_of((12, 0)), 64, 4096, 4096)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", json.dumps({"format": 2}), json.dumps({"format": 1, "device": "x", "measured": True})],
)
def test_what_is_no_table(text, tmp_path):
    path = tmp_path / "sm_90.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"sm_90\.json"):
        read_table(path)


def test_a_row_that_lacks_a_number(tmp_path):
    TABLE.write(tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text().replace('"num_warps": 4, ', "", 1)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UsageError, match="num_warps"):
        read_table(tmp_path / "a.json")


@pytest.mark.parametrize("capability", [(8, 0), (8, 9), (9, 0)])
def test_shipped_tables_know_every_kernel(capability):
    table = read_table(SHIPPED / table_files.table_name(capability))
    assert set(KERNELS) - set(table.kernels) <= ({"fp8"} if capability < (8, 9) else set())
    for rows in table.kernels.values():
        for row in rows:
            check(row.config, capability)


@settings(deadline=None)
@given(
    st.sampled_from(KERNELS),
    st.sampled_from([(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0)]),
    st.integers(1, 10000),
    st.integers(1, 100000),
    st.integers(1, 100000),
    st.sampled_from([0, 32, 64, 128, 256]),
)
def test_estimates_fit_any_product(kernel, capability, m, n, k, group):
    check(estimated(kernel, sizes_of(capability), m, n, k, group), capability)


def check(config, capability):
    """What the kernels demand, and about what the shared memory holds: a byte for each element is the least."""
    for block in (config.block_m, config.block_n, config.block_k):
        assert block & (block - 1) == 0
    assert config.block_m >= 8
    assert config.block_n in (64, 128, 256)
    assert config.block_k in (64, 128)
    assert 1 <= config.split_k <= 16
    assert config.num_stages >= 2
    held = (config.block_m + config.block_n // 2) * config.block_k * config.num_stages
    assert held <= sizes_of(capability).shared
