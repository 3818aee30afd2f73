"""What all tests share: no installed plugin gets in, and slow and GPU tests are chosen on purpose."""

from __future__ import annotations

import pytest
import torch

from fxcompress.plugins import DISABLE_AUTOLOAD


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the slow tests too")
    parser.addoption("--update-golden", action="store_true", help="write the golden cases' expected diffs anew")


def pytest_collection_modifyitems(config, items):
    slow = pytest.mark.skip(reason="slow: run it with --slow")
    gpu = pytest.mark.skip(reason="needs a CUDA device, and there is none")
    for item in items:
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(slow)
        # A folder of that name is a keyword too.
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(gpu)


@pytest.fixture(autouse=True)
def _only_built_in_plugins(monkeypatch):
    monkeypatch.setenv(DISABLE_AUTOLOAD, "1")


@pytest.fixture(autouse=True)
def _same_random_numbers():
    torch.manual_seed(0)
