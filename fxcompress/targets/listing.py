"""What an artifact spends its bytes on, tensor by tensor."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from fxcompress.coding import entropy_bytes
from fxcompress.errors import ArtifactError
from fxcompress.targets import container
from fxcompress.targets.example_inputs import is_input
from fxcompress.targets.frame_list import element_width
from fxcompress.targets.payloads import Payload, bytes_of

_HEADERS = ("tensor", "shape", "dtype", "density", "bits", "entropy", "coder", "bytes")


@dataclass(frozen=True)
class TensorRow:
    """A tensor of a file.

    Attributes:
        tensor: its name; that of an example input begins with a dot.
        shape: sizes.
        dtype: as PyTorch calls it.
        density: the share of elements that are not zero, None where there are none.
        bits: of the file for an element, None where there are none.
        entropy: order-0, of the elements, in bits an element; see `fxcompress.coding.entropy_bytes`.
        coder: of the tensor, several where frames differ.
        bytes: of the file.
    """

    tensor: str
    shape: tuple[int, ...]
    dtype: str
    density: float | None
    bits: float | None
    entropy: float | None
    coder: str
    bytes: int

    @property
    def elements(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class Listing:
    """The tensors of a file in its order, and its size.

    Attributes:
        rows: the tensors.
        size: of the file in bytes.
        version: of the format.
    """

    rows: tuple[TensorRow, ...]
    size: int
    version: int

    @property
    def model(self) -> list[TensorRow]:
        """The rows without the example inputs."""
        return [row for row in self.rows if not is_input(row.tensor)]

    def totals(self) -> dict[str, int | float]:
        """Return bytes: of the tensors, of the rest, of the file, of the model as float32, and of the entropy."""
        tensors = sum(row.bytes for row in self.rows)
        entropy = sum((row.entropy or 0.0) * row.elements for row in self.rows) / 8
        return {
            "tensors": tensors,
            "graph and header": self.size - tensors,
            "file": self.size,
            "model as float32": 4 * sum(row.elements for row in self.model),
            "order-0 entropy": entropy,
        }

    def to_dict(self) -> dict[str, Any]:
        return {"version": self.version, "tensors": [asdict(row) for row in self.rows], "totals": self.totals()}

    def __str__(self) -> str:
        return f"{self._table()}\n\n{self._sums()}"

    def _table(self) -> str:
        cells = [
            (
                row.tensor,
                " x ".join(map(str, row.shape)) or "scalar",
                row.dtype,
                "-" if row.density is None else f"{row.density:.1%}",
                "-" if row.bits is None else f"{row.bits:.2f}",
                "-" if row.entropy is None else f"{row.entropy:.2f}",
                row.coder,
                f"{row.bytes:,}",
            )
            for row in self.rows
        ]
        align = ("left", "left", "left", "right", "right", "right", "left", "right")
        return tabulate(cells, headers=_HEADERS, tablefmt="simple", colalign=align, disable_numparse=True)

    def _sums(self) -> str:
        totals = self.totals()
        whole, entropy = totals["model as float32"], totals["order-0 entropy"]
        notes = {
            "model as float32": f"the file is {whole / self.size:.1f} times smaller",
            "order-0 entropy": f"the tensors take {totals['tensors'] / entropy:.3f} times that" if entropy else "",
        }
        cells = [(name, f"{count:,.0f}", notes.get(name, "")) for name, count in totals.items()]
        return tabulate(cells, tablefmt="plain", colalign=("left", "right", "left"), disable_numparse=True)


def list_artifact(path: str | os.PathLike[str]) -> Listing:
    """Return what the file `path` holds and what each tensor takes; nothing of its graph is built.

    Raises:
        ArtifactError: no file, no artifact, or damaged.
    """
    try:
        content = container.read(Path(path))
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error.message}", hint=error.hint) from None
    rows = tuple(_row(payload, content.tensors[payload.name]) for payload in content.payloads)
    return Listing(rows, content.size, content.version)


def _row(payload: Payload, tensor: torch.Tensor) -> TensorRow:
    values = np.frombuffer(bytes_of(tensor), f"u{element_width(payload.itemsize)}")
    count = tensor.numel()
    stored = payload.nbytes if payload.frames is None else sum(size for _, size in payload.frames)
    return TensorRow(
        tensor=payload.name,
        shape=payload.shape,
        dtype=payload.dtype,
        density=_density(tensor) if count else None,
        bits=8 * stored / count if count else None,
        entropy=8 * entropy_bytes(values) / count if count else None,
        coder="raw" if payload.frames is None else _coders(payload),
        bytes=stored,
    )


def _density(tensor: torch.Tensor) -> float:
    """Return the share of elements that are not zero."""
    # PyTorch counts no unsigned numbers and no floats of a byte; of these a minus zero counts as something.
    plain = tensor.dtype.is_signed and tensor.itemsize > 1
    found = tensor if plain else torch.frombuffer(bytearray(bytes_of(tensor)), dtype=torch.uint8)
    found = found if plain else found.reshape(-1, tensor.itemsize).any(1)
    return int(found.count_nonzero()) / tensor.numel()


def _coders(payload: Payload) -> str:
    names = Counter(coder for coder, _ in payload.frames or ())
    return ", ".join(names) or "-"
