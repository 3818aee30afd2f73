"""The operator, with the recurrence written out number by number as the witness."""

import math

import torch
from fxcompress_scan import selective_scan


def arguments(batch=2, time=5, channels=3, state=4):
    decay = -torch.rand(channels, state, dtype=torch.float64)
    rate = torch.rand(batch, time, channels, dtype=torch.float64)
    x, write, read = (torch.randn(batch, time, size, dtype=torch.float64) for size in (channels, state, state))
    return x, rate, decay, write, read


def test_it_is_the_recurrence():
    x, rate, decay, write, read = arguments()
    found = selective_scan(x, rate, decay, write, read)
    for batch in range(2):
        for channel in range(3):
            state = [0.0] * 4
            for time in range(5):
                step, given = rate[batch, time, channel].item(), x[batch, time, channel].item()
                for n in range(4):
                    kept = math.exp(step * decay[channel, n].item())
                    state[n] = kept * state[n] + step * given * write[batch, time, n].item()
                expected = math.fsum(state[n] * read[batch, time, n].item() for n in range(4))
                assert math.isclose(found[batch, time, channel].item(), expected, rel_tol=1e-12, abs_tol=1e-14)


def test_it_keeps_to_the_rules_of_operators():
    given = tuple(one.requires_grad_() for one in arguments())
    torch.library.opcheck(torch.ops.fxcompress_scan.selective_scan.default, given)
    assert torch.autograd.gradcheck(selective_scan, given)
