"""What was measured so far, kept in a file, so that a long measurement goes on after it was stopped."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from fxcompress.capturing import Inputs
from fxcompress.distributed import from_first, gathered, is_first
from fxcompress.errors import PassFailed
from fxcompress.files import write_text
from fxcompress.graph.fingerprint import fingerprint, tensor_digest

FORMAT = "fxcompress-sensitivity/1"
# At most so much work is lost when the process is killed.
SECONDS_BETWEEN_WRITES = 1.0


class Ledger:
    """Signal and noise of every layer and batch, and the metric of every layer.

    Args:
        path: the file to go on with and to write to, whole each time; None keeps nothing.
        key: what the figures are of; see `key_of`.

    Raises:
        PassFailed: the file is no such file, or holds figures of something else.
    """

    def __init__(self, path: Path | None = None, key: str = "") -> None:
        self.path, self.key = path, key
        self.noises: dict[str, dict[str, list[float]]] = {}
        self.metrics: dict[str, float] = {}
        self.fresh: list[tuple[str, str, list[float]]] = []
        self.judged: list[tuple[str, float]] = []
        self.written = time.monotonic()
        if path is not None:
            self.noises, self.metrics = from_first(lambda: self._read(path))

    def has(self, layer: str, batch: int) -> bool:
        return str(batch) in self.noises.get(layer, {})

    def add(self, layer: str, batch: int, signal: float, noise: float) -> None:
        self.noises.setdefault(layer, {})[str(batch)] = [signal, noise]
        self.fresh.append((layer, str(batch), [signal, noise]))
        self._save_now_and_then()

    def add_metric(self, layer: str, metric: float) -> None:
        self.metrics[layer] = metric
        self.judged.append((layer, metric))
        self._save_now_and_then()

    def total(self, layer: str) -> tuple[float, float]:
        """Return signal and noise of a layer over all batches."""
        rows = self.noises[layer].values()
        return sum(signal for signal, _ in rows), sum(noise for _, noise in rows)

    def save(self) -> None:
        """Write the file, where there is one to be written and it is ours to write: all of it or nothing."""
        if self.path is not None and is_first():
            found = {"format": FORMAT, "key": self.key, "noises": self.noises, "metrics": self.metrics}
            write_text(self.path, json.dumps(found, indent=1) + "\n")
        self.written = time.monotonic()

    def share(self) -> None:
        """Take over what the other processes have added since they shared it last."""
        for fresh, judged in gathered((self.fresh, self.judged)):
            for layer, batch, row in fresh:
                self.noises.setdefault(layer, {})[batch] = row
            self.metrics.update(judged)
        self.fresh.clear()
        self.judged.clear()
        self._save_now_and_then()

    def _save_now_and_then(self) -> None:
        if time.monotonic() - self.written >= SECONDS_BETWEEN_WRITES:
            self.save()

    def _read(self, path: Path) -> tuple[dict[str, dict[str, list[float]]], dict[str, float]]:
        """Return what the file holds; nothing where there is none yet."""
        if not path.exists():
            return {}, {}
        hint = "name another file, or remove it to begin anew"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            form, key, noises, metrics = (found[name] for name in ("format", "key", "noises", "metrics"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PassFailed(f"{path} holds no scores of sensitivity", hint=hint) from error
        if form != FORMAT:
            raise PassFailed(f"{path} holds no scores of sensitivity", hint=hint)
        if key != self.key:
            raise PassFailed(f"{path} holds scores of another model, other data or other options", hint=hint)
        return noises, metrics


def key_of(module: GraphModule, text: str, batches: Iterable[Inputs]) -> str:
    """Return a SHA-256 over graph, tensors, the options in `text`, and the data."""
    digest = hashlib.sha256(f"{fingerprint(module)} {text}".encode())
    for batch in batches:
        digest.update(repr([_leaf(leaf) for leaf in pytree.tree_leaves((batch.args, batch.kwargs))]).encode())
    return digest.hexdigest()


def _leaf(leaf: Any) -> str:
    return tensor_digest(leaf) if isinstance(leaf, torch.Tensor) else repr(leaf)
