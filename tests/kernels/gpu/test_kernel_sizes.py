"""Tables are asked by rows of the input, outputs, and features, in that order."""

from __future__ import annotations

from functools import partial

import pytest
import torch

pytest.importorskip("triton")

from fxcompress.kernels.gpu import running_quantized, running_weight_only


@pytest.mark.parametrize("module", [running_quantized, running_weight_only])
def test_outputs_come_before_features(module, monkeypatch):
    asked = []

    def configuration(kernel, capability, *sizes):
        asked.append(sizes[:3])
        raise InterruptedError

    monkeypatch.setattr(module, "configuration", configuration)
    scales, weight = torch.ones(96), torch.ones(96, 128, dtype=torch.int8)
    if module is running_quantized:
        values = torch.ones(5, 128, dtype=torch.int8)
        call = partial(module.linear_int8, values, torch.ones(5), weight, scales, None, None, "none", torch.bfloat16)
    else:
        rows = torch.ones(5, 128, dtype=torch.bfloat16)
        call = partial(module.linear_weight_only, rows, weight, scales, None, None, None, 8, 0, "none")
    with pytest.raises(InterruptedError):
        call()
    assert asked == [(5, 96, 128)]
