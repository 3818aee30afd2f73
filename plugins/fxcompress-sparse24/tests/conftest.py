"""What the tests share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded_and_single_threaded():
    torch.manual_seed(0)
    torch.set_num_threads(1)
