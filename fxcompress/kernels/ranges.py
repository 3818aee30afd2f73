"""The range of each token or of each sample, as scale and zero point, however small it is.

torch's `choose_qparams_per_token_asymmetric` lets no scale be smaller than 1.2e-7. A token whose largest magnitude is
below 1e-5 would keep no more than a few steps then, and one below 6e-8 none.
"""

from __future__ import annotations

import torch

from fxcompress.kernels.activations import HIGH, LOW, SMALLEST_SCALE
from fxcompress.kernels.library import define


def choose_token_range(input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: A002
    """Return what maps the range of each token, with zero in it, to -128..127.

    Args:
        input: floats [..., features].

    Returns:
        float64 scales and int64 zero points, both [..., 1], as `choose_qparams_per_token_asymmetric` gives them; the
        smallest scale is that of the smallest normal float32.
    """
    # In float64 the range has no end that it could run over.
    wide = input.double()
    least, most = wide.amin(-1, True).clamp_max_(0.0), wide.amax(-1, True).clamp_min_(0.0)
    scales = (most - least).div_(HIGH - LOW).clamp_min_(SMALLEST_SCALE)
    zeros = least.div_(scales).neg_().add_(LOW).round_().clamp_(LOW, HIGH)
    return scales, zeros.to(torch.int64)


def choose_sample_range(input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: A002
    """Return what maps the range of each sample, with zero in it, to 0..255.

    Args:
        input: floats [samples, ...].

    Returns:
        float32 scales and int64 zero points, both [samples]; the smallest scale is that of the smallest normal float32.
    """
    # A sample may have no values at all.
    wide = torch.nn.functional.pad(input.double().flatten(1), (0, 1))
    least, most = wide.amin(-1), wide.amax(-1)
    scales = (most - least).div_(HIGH - LOW).clamp_min_(SMALLEST_SCALE).float()
    return scales, least.div_(scales).neg_().round_().to(torch.int64)


def _fake_sample(input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: A002
    shape = input.shape[:1]
    return input.new_empty(shape, dtype=torch.float32), input.new_empty(shape, dtype=torch.int64)


def _fake(input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: A002
    shape = (*input.shape[:-1], 1)
    return input.new_empty(shape, dtype=torch.float64), input.new_empty(shape, dtype=torch.int64)


define(
    "choose_token_range(Tensor input) -> (Tensor, Tensor)",
    choose_token_range,
    _fake,
    key="CompositeExplicitAutograd",
    tags=(torch.Tag.reduction,),
)
define(
    "choose_sample_range(Tensor input) -> (Tensor, Tensor)",
    choose_sample_range,
    _fake_sample,
    key="CompositeExplicitAutograd",
    tags=(torch.Tag.reduction,),
)
