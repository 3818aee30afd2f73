"""Four processes, some of which have nothing to do: five batches, one of a single sample."""

from __future__ import annotations

import pytest
import tasks
import torch
from processes import found_of, run_ranks


def test_four_processes_come_to_what_one_does(tmp_path):
    ranks = found_of(run_ranks(4, "some", tmp_path))
    observed, by_hand = tasks.observers(), tasks.trained_by_hand()
    static, gptq, sensitivity = ranks[0]["pipelines"]
    for found in ranks:
        for node, ((scales, zeros), histogram, _) in observed["percentile"].items():
            (shared, shared_zeros), shared_histogram, _ = found["observers"]["percentile"][node]
            assert torch.equal(shared, scales)
            assert torch.equal(shared_zeros, zeros)
            assert torch.equal(shared_histogram.counts, histogram.counts)
        assert found["trained"]["losses"] == pytest.approx(by_hand["losses"], rel=1e-9)
        for name, one in by_hand["tensors"].items():
            torch.testing.assert_close(found["trained"]["tensors"][name], one, rtol=1e-9, atol=1e-9)
        for text in (static, gptq):
            alone = tasks.compressed(text)["tensors"]
            assert all(torch.equal(found["pipelines"][text]["tensors"][name], alone[name]) for name in alone)
        scores = tasks.compressed(sensitivity, evaluate=tasks.evaluate)["details"][0]["sensitivity"]
        shared = found["pipelines"][sensitivity]["details"][0]["sensitivity"]
        assert {path: row["sqnr_db"] for path, row in shared.items()} == pytest.approx(
            {path: row["sqnr_db"] for path, row in scores.items()}, rel=1e-9
        )
        assert [row["metric"] for row in shared.values()] == pytest.approx(
            [row["metric"] for row in scores.values()], rel=1e-9
        )
