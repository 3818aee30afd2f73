"""Writing a safetensors file from tensors that come in pieces, without putting them together in memory first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from fxcompress.files import write_whole
from fxcompress.graph.fingerprint import tensor_bytes
from fxcompress.graph.types import SHORT_DTYPES

# Rows of one tensor, [rows, ...] each.
Pieces = Sequence[torch.Tensor]


def write_pieces(path: Path, tensors: Mapping[str, Pieces], metadata: dict[str, str]) -> tuple[int, str]:
    """Write each of `tensors` as one, its pieces one below the other; the file is there whole or not at all.

    Returns:
        the bytes of the file, and the blake2b digest of them, 16 bytes in hexadecimal.

    Raises:
        UsageError: the folder takes no files.
    """
    # Readers map the file into memory, where a tensor has to begin at a multiple of the size of its elements.
    order = sorted(tensors, key=lambda name: (-tensors[name][0].element_size(), name))
    digest = blake2b(digest_size=16)
    sizes = []

    def write(file: Any) -> None:
        parts: list[bytes | memoryview] = [_header({name: tensors[name] for name in order}, metadata)]
        parts += [tensor_bytes(piece) for name in order for piece in tensors[name]]
        for content in parts:
            digest.update(content)
            sizes.append(len(content))
            file.write(content)

    write_whole(path, write)
    return sum(sizes), digest.hexdigest()


def _header(tensors: Mapping[str, Pieces], metadata: dict[str, str]) -> bytes:
    """Return the length of the header and the header, which ends at a multiple of eight bytes."""
    entries: dict[str, Any] = {"__metadata__": metadata}
    start = 0
    for name, pieces in tensors.items():
        end = start + sum(piece.numel() * piece.element_size() for piece in pieces)
        first = pieces[0]
        shape = [sum(len(piece) for piece in pieces), *first.shape[1:]]
        entries[name] = {"dtype": SHORT_DTYPES[first.dtype].upper(), "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
