"""A training run on disk: one safetensors file, written whole or not at all, and nothing in it that is executed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from fxcompress.errors import PassFailed
from fxcompress.files import write_whole
from fxcompress.graph.tensors import named_tensors
from fxcompress.training.progress import Progress
from fxcompress.training.randomness import State

FORMAT = "fxcompress-training/1"


@dataclass
class Saved:
    """What a run goes on from.

    Attributes:
        progress: where the run stands.
        model: parameters and buffers by their paths, tied ones once.
        optimizer: the optimizer's `state_dict()`.
        random: states of the global generators now.
        epoch_random: those at the beginning of the epoch; `own` those of the loader then.
        best: the tensors of the best epoch; empty where none is kept.
    """

    progress: Progress
    model: State
    optimizer: dict[str, Any]
    random: State
    epoch_random: State
    own: State
    best: State


class Checkpoint:
    """The file of one run in a folder that runs may share.

    Args:
        folder: made where it is missing.
        run: tells runs apart: a digest of the model at the start, the settings and the seed.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self.path = folder / f"{run[:24]}.safetensors"
        self.run = run

    def load(self) -> Saved | None:
        """Return what was saved last; None where the run has not begun.

        Raises:
            PassFailed: the file is damaged, or of another version.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                facts = json.loads((file.metadata() or {})["training"])
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            if (facts["format"], facts["run"]) != (FORMAT, self.run):
                raise ValueError(f"it is of the format {facts['format']!r}")
            return _unpacked(facts, tensors)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise PassFailed(f"{self.path} is no training state: {error}", hint="remove it to begin anew") from error

    def save(self, saved: Saved) -> None:
        """Write `saved` over what was saved before: until it is on the disk, the old one is.

        Raises:
            UsageError: the folder takes no files.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        tensors, optimizer = _packed(saved)
        facts = {
            "format": FORMAT,
            "run": self.run,
            "progress": saved.progress.to_dict(),
            "optimizer": optimizer,
            "torch": torch.__version__,
        }
        content = save(tensors, metadata={"training": json.dumps(facts)})
        write_whole(self.path, lambda file: file.write(content))


def tensors_of(module: torch.nn.Module) -> State:
    """Return every parameter and buffer by its first path, itself and not a copy."""
    known: set[int] = set()
    found = {}
    for path, tensor in named_tensors(module):
        if id(tensor) not in known:
            known.add(id(tensor))
            found[path] = tensor
    return found


def copied(state: State) -> State:
    """Return copies of tensors."""
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def put_back(module: torch.nn.Module, state: State) -> None:
    """Write saved tensors into those of `module`."""
    with torch.no_grad():
        for path, tensor in tensors_of(module).items():
            tensor.copy_(state[path])


def _packed(saved: Saved) -> tuple[State, dict[str, Any]]:
    """Return all tensors under flat names, and of the optimizer what is no tensor."""
    parts = {"model": saved.model, "random": saved.random, "epoch_random": saved.epoch_random}
    parts |= {"own": saved.own, "best": saved.best}
    tensors = {f"{part}/{name}": tensor for part, rows in parts.items() for name, tensor in rows.items()}
    plain: dict[str, dict[str, Any]] = {}
    for number, row in saved.optimizer["state"].items():
        kept = {key: value for key, value in row.items() if isinstance(value, torch.Tensor)}
        tensors |= {f"optimizer/{number}/{key}": value for key, value in kept.items()}
        plain[str(number)] = {key: value for key, value in row.items() if key not in kept}
    flat = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return flat, {"plain": plain, "groups": saved.optimizer["param_groups"]}


def _unpacked(facts: dict[str, Any], tensors: State) -> Saved:
    parts: dict[str, State] = {}
    state: dict[int, dict[str, Any]] = {int(number): dict(row) for number, row in facts["optimizer"]["plain"].items()}
    for name, tensor in tensors.items():
        part, rest = name.split("/", 1)
        if part == "optimizer":
            number, key = rest.split("/", 1)
            state[int(number)][key] = tensor
        else:
            parts.setdefault(part, {})[rest] = tensor
    optimizer = {"state": state, "param_groups": facts["optimizer"]["groups"]}
    names = ("model", "random", "epoch_random", "own", "best")
    model, now, start, own, best = (parts.get(name, {}) for name in names)
    return Saved(Progress(**facts["progress"]), model, optimizer, now, start, own, best)
