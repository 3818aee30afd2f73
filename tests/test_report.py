"""The report of a run: its figures against figures found in another way."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

import fxcompress as fxc


@pytest.fixture(scope="module")
def result():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    x = torch.randn(4, 6)
    return fxc.compress(model, (x,), "quantize", evaluate=lambda module: float(module(x).sum())), model, x


def figure(report, name):
    return next(one for one in report.measurements if one.name == name)


def test_sizes_are_those_counted_by_hand(result):
    report = result[0].report
    assert figure(report, "parameters").before == 6 * 8 + 8 + 8 * 3 + 3
    assert figure(report, "tensors").before == 4 * (6 * 8 + 8 + 8 * 3 + 3)
    assert figure(report, "tensors").after == (6 * 8 + 8 * 3) + 4 * (8 + 3) + 4 * (8 + 3)
    assert figure(report, "MACs").before == figure(report, "MACs").after == 4 * (6 * 8 + 8 * 3)


def test_file_size_is_that_of_the_saved_file(result, tmp_path):
    from fxcompress.targets import save_artifact

    save_artifact(tmp_path / "m.fxc", result[0].module)
    assert figure(result[0].report, "file").after == (tmp_path / "m.fxc").stat().st_size


def test_a_coded_file_has_a_row_of_its_own(tmp_path):
    wide = nn.Sequential(nn.Linear(200, 200)).eval()
    made = fxc.compress(wide, (torch.randn(2, 200),), "mask{sparsity=0.95 baked=true}")
    made.save(tmp_path / "m.fxc", coding="auto")
    size = (tmp_path / "m.fxc").stat().st_size
    row = figure(made.report.written("m.fxc", size), "written")
    assert (row.before, row.after, row.note) == (figure(made.report, "file").before, size, "m.fxc")
    made.save(tmp_path / "plain.fxc")
    assert made.report.written("plain.fxc", (tmp_path / "plain.fxc").stat().st_size) == made.report


def test_fidelity_and_score_are_those_of_the_results(result):
    compressed, model, x = result
    with torch.no_grad():
        want, got = model(x).double(), compressed.module(x).double()
    noise = 10 * math.log10(float((want**2).sum() / ((want - got) ** 2).sum()))
    assert figure(compressed.report, "SQNR").after == pytest.approx(noise)
    assert figure(compressed.report, "evaluate").before == pytest.approx(float(want.sum()), rel=1e-5)
    assert figure(compressed.report, "evaluate").after == pytest.approx(float(got.sum()), rel=1e-5)


def test_every_layer_has_a_row_with_error_and_time(result):
    rows = {row.scope: row for row in result[0].report.layers}
    assert rows["0"].params_before == 6 * 8 + 8
    assert 20 < rows["0"].sqnr_db < 80
    assert rows["2"].seconds_after > 0


def test_the_report_reads_as_text_json_and_page(result):
    report = result[0].report
    assert "quantize" in str(report)
    assert max(map(len, str(report).splitlines())) <= 120
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert "<html" in report.to_html()
