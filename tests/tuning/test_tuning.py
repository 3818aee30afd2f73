"""The tuner without a GPU: the search against brute force on invented times, going on after a kill, and the table."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import torch

from fxcompress.cli import main
from fxcompress.errors import UsageError
from fxcompress.kernels.gpu.configurations import sizes_of
from fxcompress.kernels.gpu.table_files import Config, read_table
from fxcompress.tuning import Task, tasks_for, tune
from fxcompress.tuning.operands import launches_for, start_of
from fxcompress.tuning.search import OPTIONS, climb, fits

HOPPER = (9, 0)


def away(config, aim):
    """A time with one lowest point: octaves from `aim`, in each property."""
    pairs = zip(vars(config).values(), vars(aim).values(), strict=True)
    return 10.0 + sum(abs(math.log2(one) - math.log2(other)) for one, other in pairs)


class Invented:
    """A timer whose best configuration is known."""

    device, capability = "an invention", HOPPER

    def __init__(self, aim=None, dense=40.0, fails=lambda task: False, stop_after=None):
        self.aim, self.dense, self.fails, self.stop_after = (
            aim or Config(32, 64, 128, 2, 8, 4),
            dense,
            fails,
            stop_after,
        )
        self.asked: list[tuple[Task, Config]] = []

    def kernel(self, task, config):
        if self.stop_after is not None and len({one for one, _ in self.asked} | {task}) > self.stop_after:
            raise KeyboardInterrupt
        self.asked.append((task, config))
        return math.inf if self.fails(task) else away(config, self.aim) * task.m

    def dequantized(self, task):
        return self.dense * 10


def test_the_climb_finds_what_brute_force_finds():
    task = Task("weight-only-4", 32, 4096, 4096, 128)
    aim = Config(32, 64, 128, 2, 8, 4)
    everything = [Config(*values) for values in itertools.product(*OPTIONS.values())]
    allowed = [config for config in everything if fits(task, config, HOPPER)]
    best = min(allowed, key=lambda config: away(config, aim))
    asked = []

    def took(config):
        asked.append(config)
        return away(config, aim)

    found, time = climb(start_of(task, HOPPER), lambda one: fits(task, one, HOPPER), took)
    assert (found, time) == (best, 10.0)
    assert len(asked) == len(set(asked)) < len(allowed) / 10


def test_what_cannot_be_run_is_climbed_around():
    start = Config(16, 64, 64, 1, 4, 3)

    def took(config):
        return math.inf if config.num_stages == 3 else away(config, Config(16, 64, 64, 1, 4, 4))

    found, time = climb(start, lambda one: True, took)
    assert (found.num_stages, time) == (4, 10.0)


@pytest.mark.parametrize("capability", [(8, 0), (8, 9), (9, 0)])
def test_the_estimates_fit_and_what_fits_has_room(capability):
    for task in tasks_for((), [(4096, 11008)], [8, 512]):
        start = start_of(task, capability)
        options = [Config(*values) for values in itertools.product(*OPTIONS.values())]
        found = [config for config in options if fits(task, config, capability)]
        assert found, task
        assert start.num_stages >= 2
        for config in found[::37]:
            shared = config.num_stages * config.block_k * (config.block_m + config.block_n * 0.5)
            assert shared < sizes_of(capability).shared


def test_tasks_are_of_known_kernels():
    assert all(task.kernel != "fp8" for task in tasks_for((), [(64, 64)], [1], fp8=False))
    (blocks,) = tasks_for(("block-sparse-128x16",), [(4096, 4096)], [16])
    assert (blocks.block, blocks.k % 16) == ((128, 16), 0)
    assert blocks.k == pytest.approx(0.2 * 4096, rel=0.02)
    with pytest.raises(UsageError) as failure:
        tasks_for(("weight-onyl-4",), [(1, 1)], [1])
    assert "weight-only-4" in str(failure.value)


def test_a_table_is_written_that_kernels_read(tmp_path):
    tasks = tasks_for(("weight-only-8", "int8"), [(4096, 4096)], [16, 64, 256])
    said = []
    # A product of floats takes as long as 40 rows.
    path = tune(
        tasks, Invented(dense=40.0, fails=lambda task: task.m == 64 and task.kernel == "int8"), tmp_path, said.append
    )
    table = read_table(path)
    assert (path.name, table.device, table.measured) == ("sm_90.json", "an invention", True)
    assert [row.m for row in table.kernels["weight-only-8"]] == [16, 64, 256]
    assert [row.m for row in table.kernels["int8"]] == [16, 256]
    assert table.dequantize_from == {"weight-only-8": 17}
    assert said[0].startswith("1 of 6: weight-only-8: 16 rows")
    assert [one.name for one in tmp_path.iterdir()] == ["sm_90.json"]


def test_a_run_that_was_stopped_goes_on(tmp_path):
    tasks = tasks_for(("weight-only-8",), [(4096, 4096)], [16, 32, 64])
    with pytest.raises(KeyboardInterrupt):
        tune(tasks, Invented(stop_after=2), tmp_path, lambda line: None)
    assert not (tmp_path / "sm_90.json").exists()
    again = Invented()
    path = tune(tasks, again, tmp_path, lambda line: None)
    assert {task.m for task, _ in again.asked} == {64}
    whole = tmp_path / "whole"
    assert path.read_text() == tune(tasks, Invented(), whole, lambda line: None).read_text()


def test_a_record_of_another_gpu_is_not_gone_on_with(tmp_path):
    tasks = tasks_for(("int8",), [(64, 64)], [16])
    partial = tmp_path / "sm_90.partial.json"
    partial.write_text(json.dumps({"format": "fxcompress-tuning/1", "device": "another", "found": []}))
    with pytest.raises(UsageError, match="of another GPU"):
        tune(tasks, Invented(), tmp_path, lambda line: None)
    partial.write_text("{")
    with pytest.raises(UsageError, match="no record"):
        tune(tasks, Invented(), tmp_path, lambda line: None)


def test_kernels_start_on_what_the_tuner_makes():
    pytest.importorskip("triton")
    for task in tasks_for((), [(256, 512)], [16]):
        made = launches_for(task, start_of(task, HOPPER), "meta" if task.block is None else "cpu")
        assert made
        assert made[0].constants["BLOCK_M"] == start_of(task, HOPPER).block_m


def command(capsys, *words):
    """How `fxcompress WORDS` ends, and what it says."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return ended.value.code, capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="it is about machines without a GPU")
def test_without_a_gpu_the_command_says_so(tmp_path, capsys):
    code, said = command(capsys, "tune", "-o", str(tmp_path / "tables"))
    assert code == 2
    assert said.startswith("error: tune measures on an NVIDIA GPU, and PyTorch finds none here")
    assert not (tmp_path / "tables").exists()


@pytest.mark.parametrize("words", [("--shapes", "4096"), ("--rows", "1,x"), ("--shapes", "0x5")])
def test_wrong_numbers_are_told(words, capsys):
    code, said = command(capsys, "tune", *words)
    assert code == 2
    assert "is not like" in said
