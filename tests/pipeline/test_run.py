"""The run loop and its instruments: order, statistics, change, snapshots, reproducers."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import fxcompress as fxc
from fxcompress.errors import InputError, PassFailed, PipelineError, PluginError, StepFailed


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(6, 8)
        self.drop = nn.Dropout(0.5)
        self.fc2 = nn.Linear(8, 3)

    def forward(self, x):
        return self.fc2(self.drop(torch.relu(self.fc1(x))))


@pytest.fixture(scope="module")
def captured():
    torch.manual_seed(0)
    return fxc.capture(Net().eval(), (torch.randn(4, 6),))


@dataclass(frozen=True)
class Noise(fxc.Pass):
    """Add a little noise to the weights."""

    name = "noise"
    fidelity = "lossy"
    size: float = fxc.option(0.1, help="standard deviation")
    touched = fxc.statistic("tensors")
    skipped = fxc.statistic("tensors left alone")

    def apply(self, module, context):
        generator = context.generator()
        for parameter in module.parameters():
            parameter.data += self.size * torch.randn(parameter.shape, generator=generator)
            context.record(touched=1)
        context.details["sizes"] = [self.size]
        context.note("noise was added")
        context.note("noise was added")
        return module


@dataclass(frozen=True)
class Calibrated(fxc.Pass):
    """Look at the calibration data."""

    name = "calibrated"
    fidelity = "exact"
    batches = fxc.statistic("batches seen")

    def apply(self, module, context):
        for inputs in context.calibration():
            inputs.call(module)
            context.record(batches=1)
        return module


def test_a_stage_keeps_what_the_pass_told(captured):
    stage = fxc.compress(captured, None, [Noise(size=0.2)]).stages[0]
    assert stage.text == "noise{size=0.2}"
    assert stage.plugin is None
    assert stage.statistics == {"touched": 4, "skipped": 0}
    assert stage.details == {"sizes": [0.2]}
    assert stage.notes == ("noise was added",)
    assert stage.changed
    assert stage.diff
    assert stage.seconds > 0


def test_the_same_seed_gives_the_same_module_and_another_another(captured):
    one, two, three = (fxc.compress(captured, None, [Noise()], seed=seed).module for seed in (1, 1, 2))
    assert torch.equal(one.fc1.weight, two.fc1.weight)
    assert not torch.equal(one.fc1.weight, three.fc1.weight)


def test_a_pass_that_changes_nothing_is_not_changed(captured):
    stage = fxc.compress(captured, None, "eliminate-dead-nodes").stages[0]
    assert not stage.changed
    assert not stage.diff


def test_the_captured_module_is_left_alone_by_passes_and_by_failures(captured):
    before = {name: tensor.clone() for name, tensor in captured.module.state_dict().items()}
    graph = str(captured.module.graph)
    fxc.compress(captured, None, [Noise()])
    with pytest.raises(StepFailed):
        fxc.compress(captured, None, "quantize,clip")
    assert str(captured.module.graph) == graph
    assert all(torch.equal(tensor, before[name]) for name, tensor in captured.module.state_dict().items())


def test_calibration_takes_any_iterable_of_inputs(captured):
    x = torch.randn(2, 6)
    for batches in ([(x,), {"x": x}, fxc.Inputs(x)], torch.utils.data.DataLoader(torch.randn(6, 6), batch_size=2)):
        stage = fxc.compress(captured, None, [Calibrated()], calibration=batches).stages[0]
        assert stage.statistics["batches"] == 3
    with pytest.raises(StepFailed, match="needs calibration data"):
        fxc.compress(captured, None, [Calibrated()])
    used = iter([(x,)])
    list(used)
    with pytest.raises(StepFailed, match="has no batches"):
        fxc.compress(captured, None, [Calibrated()], calibration=used)


def test_instruments_stand_around_every_step_and_measure(captured):
    seen = []

    class Watch:
        @contextmanager
        def around(self, step):
            seen.append(("before", step.text, len(step.module.graph.nodes)))
            yield
            step.measurements["nodes"] = len(step.module.graph.nodes)
            seen.append(("after", step.text, len(step.module.graph.nodes)))

    result = fxc.compress(captured, None, "quantize,eliminate-dead-nodes", instruments=[Watch()])
    assert [(when, text) for when, text, _ in seen] == [
        ("before", "quantize"),
        ("after", "quantize"),
        ("before", "eliminate-dead-nodes"),
        ("after", "eliminate-dead-nodes"),
    ]
    assert seen[1][2] == result.stages[0].measurements["nodes"]
    with pytest.raises(PipelineError, match="there is no instrument 'wacht'"):
        fxc.compress(captured, None, "quantize", instruments=["wacht"])


def test_snapshots_are_written_before_and_after_each_step(captured, tmp_path):
    fxc.compress(captured, None, "quantize,clip{limit=1}", snapshots=tmp_path / "shots")
    names = sorted(path.name for path in (tmp_path / "shots").iterdir())
    assert names == ["0-capture.txt", "1-quantize.txt", "2-clip.txt"]
    assert "dequantize" not in (tmp_path / "shots" / names[0]).read_text()
    assert "dequantize" in (tmp_path / "shots" / names[1]).read_text()


def test_the_reproducer_holds_the_graph_just_before_and_fails_again(captured, tmp_path):
    folder = tmp_path / "failed"
    with pytest.raises(StepFailed, match="no range is given"):
        fxc.compress(captured, None, "quantize,clip,eliminate-dead-nodes", reproduce=folder, seed=7)
    assert (folder / "pipeline.txt").read_text() == "clip\n"
    assert (folder / "seed.txt").read_text() == "7\n"
    assert "no range is given" in (folder / "error.txt").read_text()
    before = fxc.load(folder / "before.fxc")
    want = fxc.compress(captured, None, "quantize")
    assert not fxc.diff(want, before)
    with pytest.raises(StepFailed, match="no range is given"):
        fxc.compress(before, None, "clip")


def test_no_failure_leaves_no_reproducer(captured, tmp_path):
    fxc.compress(captured, None, "quantize", reproduce=tmp_path / "failed")
    assert not (tmp_path / "failed").exists()


def test_a_step_failed_names_everything(captured):
    with pytest.raises(StepFailed) as caught:
        fxc.compress(captured, None, "quantize,mask{targets=fc3}")
    error = caught.value
    assert (error.step, error.pass_text, error.plugin) == (1, "mask{targets=fc3}", "passes")
    assert "'fc3' matches no module, node or parameter" in str(error)
    assert "did you mean 'fc" in str(error)
    assert isinstance(error.__cause__, PassFailed)


def test_diffs_can_be_switched_off(captured):
    stage = fxc.compress(captured, None, "quantize", diffs=False).stages[0]
    assert stage.diff is None
    assert stage.changed


def test_progress_is_told_of_every_step(captured):
    said = []
    fxc.compress(captured, None, "quantize,eliminate-dead-nodes", progress=said.append)
    assert said == ["[1/2] quantize", "[2/2] eliminate-dead-nodes"]


@pytest.mark.parametrize(
    ("pipeline", "words"),
    [
        ([Noise], "not the class Noise"),
        (["mask"], "not 'mask'"),
        ("", "here a pass or a pipeline is missing"),
    ],
)
def test_what_is_no_pipeline_is_said(captured, pipeline, words):
    with pytest.raises(PipelineError, match=words):
        fxc.compress(captured, None, pipeline)


def test_an_empty_sequence_of_passes_gives_the_model_back(captured):
    result = fxc.compress(captured, None, [])
    assert result.stages == ()
    assert not fxc.diff(captured, result)


def test_a_result_is_compressed_further_and_an_artifact_without_inputs_asks_for_them(captured, tmp_path):
    first = fxc.compress(captured, None, "mask{sparsity=0.5}")
    second = fxc.compress(first, None, "quantize")
    assert "dequantize" in str(second.module.graph)
    from fxcompress.targets import save_artifact

    save_artifact(tmp_path / "bare.fxc", first.module)
    with pytest.raises(InputError, match="no example inputs"):
        fxc.compress(fxc.load(tmp_path / "bare.fxc"), None, "quantize")


def test_inputs_that_do_not_fit_a_captured_model_are_said_before_any_pass_runs(captured):
    with pytest.raises(InputError, match="shape"):
        fxc.compress(captured, (torch.randn(2, 5),), "quantize")
    with pytest.raises(InputError):
        fxc.compress(captured, (torch.randn(2, 6), 3), "quantize")


def test_registering_two_passes_of_one_name_names_both():
    class Twice:
        @fxc.hookimpl
        def register_passes(self, register):
            register(Noise)

    class Again(Noise):
        """Another noise."""

    class Other:
        @fxc.hookimpl
        def register_passes(self, register):
            register(dataclass(frozen=True)(Again))

    plugins = fxc.Plugins()
    plugins.register(Twice(), "twice")
    with pytest.raises(PluginError, match=r"registered twice: .*Noise by plugin 'twice' and .*Again by plugin 'other'"):
        plugins.register(Other(), "other")


def test_train_and_eval_reach_the_dropout_of_the_result(captured):
    module = fxc.compress(captured, None, "quantize").module
    x = torch.ones(64, 6)
    assert torch.equal(module(x), module(x))
    module.train()
    assert not torch.equal(module(x), module(x))
    module.eval()
    assert torch.equal(module(x), module(x))
