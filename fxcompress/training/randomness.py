"""The generators that a training run draws from, as states that can be kept and put back."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

State = dict[str, torch.Tensor]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let the global generators of torch, NumPy and Python begin with `seed`; afterwards they are as they were."""
    before = global_state()
    try:
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        yield
    finally:
        restore_global(before)


def global_state() -> State:
    """Return the states of the global generators; a CUDA device's where one was used."""
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state = {
        "torch": torch.get_rng_state(),
        "numpy": torch.tensor([*map(int, keys), position, has_gauss]),
        "numpy_cached": torch.tensor(cached, dtype=torch.float64),
        "python": torch.tensor([version, *words]),
        "python_gauss": torch.tensor(float("nan") if gauss is None else gauss, dtype=torch.float64),
    }
    if torch.cuda.is_initialized():
        state |= {f"cuda{i}": torch.cuda.get_rng_state(i) for i in range(torch.cuda.device_count())}
    return state


def restore_global(state: State) -> None:
    """Put back what `global_state` gave."""
    torch.set_rng_state(state["torch"])
    *keys, position, has_gauss = state["numpy"].tolist()
    words = np.array(keys, dtype=np.uint32)
    np.random.set_state(("MT19937", words, position, has_gauss, float(state["numpy_cached"])))
    version, *python = state["python"].tolist()
    gauss = float(state["python_gauss"])
    random.setstate((version, tuple(python), None if gauss != gauss else gauss))
    for name, kept in state.items():
        if name.startswith("cuda"):
            torch.cuda.set_rng_state(kept, int(name.removeprefix("cuda")))


def own_state(batches: Iterable[Any]) -> State:
    """Return the states of the generators that `batches` has of its own, as a DataLoader or its sampler may."""
    return {name: generator.get_state() for name, generator in _own(batches)}


def restore_own(batches: Iterable[Any], state: State) -> None:
    """Put back what `own_state` gave for such batches."""
    for name, generator in _own(batches):
        if name in state:
            generator.set_state(state[name])


def _own(batches: Iterable[Any]) -> Iterator[tuple[str, torch.Generator]]:
    for name, owner in (("own", batches), ("sampler", getattr(batches, "sampler", None))):
        generator = getattr(owner, "generator", None)
        if isinstance(generator, torch.Generator):
            yield name, generator
