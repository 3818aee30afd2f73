"""What each pass lost and won back: measured after every pass, where somebody asks, and nowhere else."""

import json
import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.errors import StepFailed


@pytest.fixture(autouse=True)
def _short_measurements(monkeypatch):
    monkeypatch.setattr("fxcompress.reporting.LATENCY_SECONDS", 0.05)


PIPELINE = "fold-constants,mask{sparsity=0.9},finetune{epochs=20 lr=0.02},eliminate-dead-nodes"


class Task:
    """A network that somebody trained, data, and a metric that counts how often it is asked."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
        self.rows = torch.randn(96, 6)
        with torch.no_grad():
            self.labels = self.model(self.rows).argmax(-1)
        self.calls = 0

    def evaluate(self, module):
        self.calls += 1
        return float((module(self.rows).argmax(-1) == self.labels).float().mean())

    def compress(self, pipeline=PIPELINE, **kwargs):
        batches = [((part,), labels) for part, labels in zip(self.rows.split(32), self.labels.split(32), strict=True)]
        train = fxc.TrainingData(batches, nn.functional.cross_entropy)
        given = {"train": train, "evaluate": self.evaluate, "instruments": ["trajectory"], **kwargs}
        return fxc.compress(self.model, (self.rows[:8],), pipeline, **given)


def test_every_point_is_what_the_model_gives_after_that_pass():
    task = Task()
    result = task.compress()
    points = result.report.trajectory
    assert [point.text for point in points] == ["original", *(stage.text for stage in result.stages)]
    with torch.no_grad():
        want = task.model(task.rows).double()
    for count, point in enumerate(points):
        head = ",".join(PIPELINE.split(",")[:count])
        module = Task().compress(head, instruments=[]).module if head else task.model
        with torch.no_grad():
            given = module(task.rows).double()
        standing = point.standing
        assert standing.metric == pytest.approx(task.evaluate(module))
        # The training data are the rows of the metric, and the teacher is the original, whose answers the labels are.
        assert standing.agreement == pytest.approx(standing.metric)
        noise = float((want - given).square().sum())
        if noise == 0:
            assert standing.sqnr_db == math.inf
        else:
            assert standing.sqnr_db == pytest.approx(10 * math.log10(float(want.square().sum()) / noise), abs=1e-3)
        assert standing.cosine == pytest.approx(
            float(nn.functional.cosine_similarity(want.view(-1), given.view(-1), 0))
        )
    lost, won = (
        points[2].standing.metric - points[1].standing.metric,
        points[3].standing.metric - points[2].standing.metric,
    )
    assert lost < -0.1
    assert won > 0.02


def test_it_is_measured_once_for_the_original_and_once_for_each_pass_that_changes_something():
    task = Task()
    result = task.compress()
    assert [stage.changed for stage in result.stages] == [False, True, True, False]
    assert task.calls == 3
    report = result.report
    assert task.calls == 3
    (row,) = [row for row in report.measurements if row.name == "evaluate"]
    assert (row.before, row.after) == (1.0, report.trajectory[-1].standing.metric)


def test_without_being_asked_nothing_is_measured():
    task = Task()
    result = task.compress(instruments=[])
    assert task.calls == 0
    assert [stage.standings for stage in result.stages] == [None] * 4
    assert result.report.trajectory == ()
    assert "won back" not in str(result.report) + result.report.to_html()


def test_an_instrument_changes_nothing_of_the_run():
    plain, watched = Task().compress(instruments=[]).module, Task().compress().module
    assert all(torch.equal(one, watched.state_dict()[name]) for name, one in plain.state_dict().items())


def test_the_teacher_that_is_given_is_agreed_with():
    task = Task()
    torch.manual_seed(5)
    other = nn.Sequential(nn.Linear(6, 4)).eval()
    point = task.compress("mask{sparsity=0.5}", teacher=other).report.trajectory[0]
    with torch.no_grad():
        same = (other(task.rows).argmax(-1) == task.model(task.rows).argmax(-1)).float().mean()
    assert point.standing.agreement == pytest.approx(float(same))
    assert point.standing.sqnr_db == math.inf


def test_data_that_runs_once_is_left_for_the_passes():
    task = Task()
    result = task.compress("mask{sparsity=0.5 importance=wanda}", calibration=(part for part in task.rows.split(32)))
    assert result.report.trajectory[1].standing.sqnr_db < 60


def test_results_that_are_no_predictions_have_no_agreement():
    conv = nn.Conv2d(2, 3, 3).eval()
    result = fxc.compress(conv, (torch.randn(2, 2, 5, 5),), "mask{sparsity=0.5}", instruments=["trajectory"])
    standing = result.report.trajectory[1].standing
    assert standing.agreement is None
    assert standing.metric is None
    assert standing.sqnr_db > 0
    header = next(line for line in str(result.report).splitlines() if "cosine" in line and "pass" in line)
    assert header.split() == ["pass", "SQNR", "cosine"]


def test_a_module_with_taps_is_measured_by_its_own_result():
    task = Task()
    result = task.compress("mask{sparsity=0.9},capture-teacher{taps=0 sink=outputs}")
    assert isinstance(result.module(task.rows), tuple)
    points = result.report.trajectory
    assert points[2].standing == points[1].standing
    assert result.report.measurements[-1].after == points[1].standing.metric


def test_a_pass_that_breaks_the_graph_is_named_and_not_the_metric():
    task = Task()

    @dataclass(frozen=True)
    class Broken(fxc.Pass):
        """Lose the last layer."""

        name = "broken"
        fidelity = "lossy"

        def apply(self, module, context):
            end = module.graph.output_node()
            end.args = ((end.args[0][0].args[0],),)
            module.graph.eliminate_dead_code()
            return module

    with pytest.raises(StepFailed, match="does not verify"):
        task.compress([Broken()])


def test_table_page_and_json_show_it():
    report = Task().compress().report
    table = str(report).split("What each pass lost and won back:\n")[1].split("\n\n")[0].splitlines()
    assert table[0].split() == ["pass", "evaluate", "change", "agreement", "SQNR", "cosine"]
    assert table[2].split() == ["original", "1", "-", "100.0%", "exact", "1"]
    assert table[4].split()[:2] == ["2", "mask{sparsity=0.9}"]
    assert table[4].split()[3].startswith("-0.")
    assert table[5].split()[3].startswith("+0.") or table[5].split()[4].startswith("+0.")
    page = report.to_html()
    assert page.count("<svg") == 3
    assert page.count("<circle") == 15
    assert 'class="won"' in page
    assert 'class="lost"' in page
    found = json.loads(json.dumps(report.to_dict()))["trajectory"]
    assert [row["text"] for row in found][:2] == ["original", "fold-constants"]
    assert found[0]["standing"] == {"metric": 1.0, "sqnr_db": None, "cosine": 1.0, "agreement": 1.0}
