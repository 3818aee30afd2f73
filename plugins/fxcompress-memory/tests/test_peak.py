"""The instrument, with passes as the witness that hold amounts of memory which are known beforehand."""

from dataclasses import dataclass
from typing import Literal

import fxcompress_memory
import pytest
import torch
from fxcompress_memory import PeakMemory
from torch import nn

import fxcompress as fxc
from fxcompress.graph.shapes import propagate

MIB = 1 << 20
# What a small model's own graph may add.
SLACK = 4096


@dataclass(frozen=True)
class Hold(fxc.Pass):
    """Hold known amounts of memory."""

    name = "hold"
    fidelity = "exact"
    how: Literal["nothing", "together", "in-turn", "views", "fake", "in-place"] = fxc.option(
        "nothing", help="which way"
    )

    def apply(self, module, context):
        if self.how == "together":
            first, second = torch.zeros(2 * MIB, dtype=torch.uint8), torch.zeros(MIB // 4)
            assert first.numel() + second.numel() * 4 == 3 * MIB
        elif self.how == "in-turn":
            for size in (2 * MIB, 5 * MIB, MIB):
                torch.ones(size, dtype=torch.uint8).sum()
        elif self.how == "views":
            whole = torch.zeros(MIB, dtype=torch.uint8)
            assert len([whole[i:] for i in range(1000)]) == 1000
        elif self.how == "fake":
            propagate(module)
        elif self.how == "in-place":
            torch.empty(0, dtype=torch.uint8).resize_(6 * MIB)
        return module


def measured(how, **given):
    model, x = nn.Sequential(nn.Linear(4, 4)).eval(), torch.randn(2, 4)
    plugins = fxc.Plugins(autoload=False)
    plugins.register(fxcompress_memory, "memory")
    result = fxc.compress(model, (x,), [Hold(how)], instruments=["memory"], plugins=plugins, **given)
    return result.stages[0].measurements["peak_memory_bytes"]


@pytest.mark.parametrize(
    ("how", "bytes_held"),
    [("nothing", 0), ("together", 3 * MIB), ("in-turn", 5 * MIB), ("views", MIB), ("fake", 0), ("in-place", 6 * MIB)],
)
def test_the_peak_is_what_the_pass_held(how, bytes_held):
    assert bytes_held <= measured(how) <= bytes_held + SLACK


def test_every_step_is_measured_by_itself():
    model, x = nn.Sequential(nn.Linear(4, 4)).eval(), torch.randn(2, 4)
    result = fxc.compress(model, (x,), [Hold("in-turn"), Hold(), Hold("together")], instruments=[PeakMemory()])
    peaks = [stage.measurements["peak_memory_bytes"] // MIB for stage in result.stages]
    assert peaks == [5, 0, 3]


def test_the_work_of_other_instruments_does_not_count():
    """Verification runs a model whose values take far more than the pass does."""

    class Wide(nn.Module):
        def forward(self, x):
            return x.expand(2 * MIB, 2).contiguous().sum(0)

    result = fxc.compress(Wide(), (torch.ones(1, 2),), [Hold()], instruments=[PeakMemory()], dynamic="none")
    assert result.stages[0].measurements["peak_memory_bytes"] < SLACK


def test_a_real_pass_holds_at_least_what_it_leaves():
    model, x = nn.Sequential(nn.Linear(256, 256, bias=False)).eval(), torch.randn(2, 256)
    result = fxc.compress(model, (x,), "quantize", instruments=[PeakMemory()], plugins=fxc.Plugins(autoload=False))
    peak = result.stages[0].measurements["peak_memory_bytes"]
    assert 256 * 256 <= peak <= 64 * 256 * 256


def test_the_report_shows_it():
    model, x = nn.Sequential(nn.Linear(4, 4)).eval(), torch.randn(2, 4)
    result = fxc.compress(model, (x,), [Hold("together")], instruments=[PeakMemory()])
    assert "peak_memory_bytes" in str(result.report)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_the_allocator_says_it():
    @dataclass(frozen=True)
    class HoldOnCuda(fxc.Pass):
        """Hold 3 MiB."""

        name = "hold-on-cuda"

        def apply(self, module, context):
            torch.zeros(3 * MIB, dtype=torch.uint8, device="cuda").sum()
            return module

    model, x = nn.Sequential(nn.Linear(4, 4)).cuda().eval(), torch.randn(2, 4, device="cuda")
    result = fxc.compress(model, (x,), [HoldOnCuda()], instruments=[PeakMemory()])
    assert 3 * MIB <= result.stages[0].measurements["peak_memory_bytes"] < 4 * MIB
