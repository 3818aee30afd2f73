"""Pruning a model with a scan in it, with a smaller model that is sliced by hand as the witness."""

import fxcompress_scan
import pytest
import torch
from fxcompress_scan import selective_scan
from torch import nn
from torch.nn.functional import silu, softplus

import fxcompress as fxc
from fxcompress.analysis.axes import analyse, group_table, why

CHANNELS, STATE = 12, 6


class Mixer(nn.Module):
    """A gated scan over time, as in Mamba."""

    def __init__(self, channels=CHANNELS, state=STATE):
        super().__init__()
        self.enter = nn.Linear(8, 2 * channels)
        self.rate = nn.Linear(channels, channels)
        self.write = nn.Linear(channels, state)
        self.read = nn.Linear(channels, state)
        self.decay = nn.Parameter(torch.randn(channels, state))
        self.leave = nn.Linear(channels, 8)

    def forward(self, words):
        x, gate = self.enter(words).chunk(2, -1)
        rate, decay = softplus(self.rate(x)), -self.decay.exp()
        return self.leave(selective_scan(x, rate, decay, self.write(x), self.read(x)) * silu(gate))


CHANNEL_AXES = {"enter.weight:0", "enter.bias:0", "rate.weight:0", "rate.weight:1", "rate.bias:0"}
CHANNEL_AXES |= {"decay:0", "write.weight:1", "read.weight:1", "leave.weight:1"}
STATE_AXES = {"write.weight:0", "write.bias:0", "read.weight:0", "read.bias:0", "decay:1"}


@pytest.fixture
def model():
    return Mixer().double().eval()


@pytest.fixture
def words():
    return torch.randn(3, 7, 8, dtype=torch.float64)


@pytest.fixture
def plugins():
    found = fxc.Plugins(autoload=False)
    found.register(fxcompress_scan, "scan")
    return found


def test_without_the_plugin_the_scan_pins_and_is_named(model, words):
    axes = analyse(fxc.capture(model, (words,)).module)
    table = group_table(axes)
    assert table.unknown == {"fxcompress_scan.selective_scan.default": ("%selective_scan",)}
    assert "no rule describes fxcompress_scan.selective_scan.default (1 call: %selective_scan)" in str(table)
    # The gate's half of the channels is multiplied with what comes out of the scan.
    assert table.free == ()
    (found,) = why(axes, "leave.weight:1").slots
    assert found.pinned == "%selective_scan is an operator that no rule describes"


def test_with_the_plugin_channels_and_state_are_groups(model, words, plugins):
    table = group_table(analyse(fxc.capture(model, (words,)).module, plugins.axis_rules))
    assert not table.unknown
    channels, state = table.free
    assert (channels.slots, set(channels.carriers)) == (CHANNELS, CHANNEL_AXES)
    assert (state.slots, set(state.carriers)) == (STATE, STATE_AXES)
    assert channels.inexact is state.inexact is None
    # Time is the length of the words, which nobody may change; no parameter has it.
    assert {row.pinned for row in table.pinned} == {"is an input of the model", "is a result of the model"}


def smaller(model, channels, state):
    """Return the model that somebody would write who wants only these channels and this part of the state."""
    made = Mixer(len(channels), len(state)).double().eval()
    entering = torch.cat([channels, channels + CHANNELS])
    places = {
        "enter.weight": (entering,),
        "enter.bias": (entering,),
        "rate.weight": (channels, channels),
        "rate.bias": (channels,),
        "write.weight": (state, channels),
        "write.bias": (state,),
        "read.weight": (state, channels),
        "read.bias": (state,),
        "decay": (channels, state),
        "leave.weight": (torch.arange(8), channels),
        "leave.bias": (torch.arange(8),),
    }
    sliced = {}
    for name, tensor in model.state_dict().items():
        for dim, kept in enumerate(places[name]):
            tensor = tensor.index_select(dim, kept)
        sliced[name] = tensor
    made.load_state_dict(sliced)
    return made


def zeroed(model, removed):
    """Set what was removed to zero in the model as it was."""
    with torch.no_grad():
        for name, dims in removed.items():
            for dim, places in dims.items():
                model.get_parameter(name).index_fill_(int(dim), torch.tensor(places), 0)
    return model


def test_it_is_pruned_exactly(model, words, plugins):
    result = fxc.compress(model, (words,), "prune{ratio=0.5 round_to=1 exact=true}", plugins=plugins)
    removed = result.stages[0].details["removed"]
    channels, state = ([n for n in range(size) if n not in removed["decay"][dim]] for dim, size in enumerate((12, 6)))
    assert (len(channels), len(state)) == (6, 3)
    found = result.module(words)
    by_hand = smaller(model, torch.tensor(channels), torch.tensor(state))
    assert torch.allclose(found, by_hand(words), rtol=1e-12, atol=1e-14)
    assert torch.allclose(found, zeroed(model, removed)(words), rtol=1e-12, atol=1e-14)
    assert sum(one.numel() for one in result.module.parameters()) == sum(one.numel() for one in by_hand.parameters())


def test_what_is_left_learns(model, words, plugins):
    module = fxc.compress(model, (words,), "prune{ratio=0.5 round_to=1}", plugins=plugins).module.train()
    module(words).square().mean().backward()
    assert all(one.grad is not None and bool(one.grad.any()) for one in module.parameters())
