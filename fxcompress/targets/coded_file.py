"""The coded file, version 2 of the format: few bytes around few bytes.

    8 bytes    length of the header, little-endian
    header     {"__metadata__": {format, version, fxcompress}, "coded": {dtype, shape, data_offsets}}, blanks
    frames     of all payloads, one after another
    zeros      where the rest of the file would be too small for what it unfolds to, see `_padding`
    document   see `document_text.py`
    4 bytes    length of the document as it stands here, little-endian
    32 bytes   SHA-256 of everything behind the header up to here, followed by the header with its length

To other readers of safetensors it is one tensor of bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from fxcompress.errors import ArtifactError
from fxcompress.targets.document_text import pack_document, unpack_document
from fxcompress.targets.frames import decode_frames, encode_frames
from fxcompress.targets.json_text import dump
from fxcompress.targets.payloads import Payload, describe

FORMAT, VERSION = "fxcompress", 2
_TAIL = 4 + 32
_CHUNK = 1 << 20
_DAMAGED = "the file is damaged; save it again"
# What a file may unfold to: so much at least, and beyond it so many bytes for each of its own.
_TENSORS_FREE, _TENSORS_RATIO = 16 << 20, 1024
_DOCUMENT_FREE, _DOCUMENT_RATIO = 256 << 10, 64
MAX_DOCUMENT = 100_000_000
_NAME = "coded"


class _Hashing:
    """A file that is written through a hash."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self.digest.update(data)
        self.size += len(data)


def write(
    file: BinaryIO,
    document: dict[str, Any],
    tensors: Mapping[str, torch.Tensor],
    coding: str,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Write a file of format 2, one tensor after another; the field `payloads` of `document` is set.

    Args:
        file: new and empty.
        document: JSON.
        tensors: on the CPU, by the names of the payloads.
        coding: `auto` or a coder.
        progress: is given a line for every tensor.
    """
    head = len(_header(document["fxcompress"], _most_bytes(document, tensors)))
    file.write(bytes(head))
    rest = _Hashing(file)
    payloads = []
    for index, (name, tensor) in enumerate(tensors.items()):
        if progress is not None:
            progress(f"code {name} ({index + 1} of {len(tensors)})")
        frames = tuple(_written(rest, frame) for frame in encode_frames(tensor, coding))
        payloads.append(describe(name, tensor, frames))
    document["payloads"] = [payload.to_json() for payload in payloads]
    text = dump(document)
    packed = pack_document(text)
    rest.write(bytes(_padding(payloads, len(text), rest.size + len(packed) + _TAIL)))
    rest.write(packed + len(packed).to_bytes(4, "little"))
    header = _header(document["fxcompress"], rest.size + 32, head)
    rest.digest.update(header)
    file.write(rest.digest.digest())
    file.seek(0)
    file.write(header)


def _written(rest: _Hashing, frame: tuple[str, bytes | memoryview]) -> tuple[str, int]:
    rest.write(frame[1])
    return frame[0], len(frame[1])


def _most_bytes(document: dict[str, Any], tensors: Mapping[str, torch.Tensor]) -> int:
    """Return more bytes than will stand behind the header; so many digits are kept free in it."""
    described = len(dump(document)) + sum(len(name) + 500 for name in tensors)
    return described + sum(tensor.numel() * tensor.itemsize for tensor in tensors.values())


def _header(writer: str, size: int, length: int = 0) -> bytes:
    """Return the header of a file with `size` bytes behind it, its length in front, filled up to `length`."""
    metadata = {"format": FORMAT, "version": str(VERSION), "fxcompress": writer}
    text = dump({"__metadata__": metadata, _NAME: {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}})
    raw = text.encode().ljust(length - 8)
    return len(raw).to_bytes(8, "little") + raw


def _padding(payloads: Iterable[Payload], text: int, size: int) -> int:
    """Return the zeros for a file of `size` bytes so that what it unfolds to stays within bounds.

    Who reads can then refuse what unfolds to more, before any memory is taken.
    """
    unfolded = sum(payload.nbytes for payload in payloads)
    least = max(-(-(unfolded - _TENSORS_FREE) // _TENSORS_RATIO), -(-(text - _DOCUMENT_FREE) // _DOCUMENT_RATIO))
    return max(0, least - size)


def read(
    file: BinaryIO, header: bytes, parse_document: Callable[[str], tuple[dict[str, Any], list[Payload]]]
) -> tuple[dict[str, Any], list[Payload], dict[str, torch.Tensor]]:
    """Return document, payloads and tensors of a file of format 2.

    Args:
        file: its place is behind the header.
        header: as it stands in the file, without its length.
        parse_document: gives the document of a text, and its payloads.

    Raises:
        ArtifactError: damaged; nothing is unpacked before the hash of all bytes is checked.
    """
    start = 8 + len(header)
    size = os.fstat(file.fileno()).st_size - start
    if size < _TAIL + 1:
        raise ArtifactError("was cut short", hint=_DAMAGED)
    _check_hash(file, header, size)
    length = int.from_bytes(_at(file, start + size - _TAIL, 4), "little")
    if length > size - _TAIL:
        raise ArtifactError("its document is longer than the file", hint=_DAMAGED)
    text = unpack_document(
        _at(file, start + size - _TAIL - length, length), min(MAX_DOCUMENT, _DOCUMENT_FREE + _DOCUMENT_RATIO * size)
    )
    document, payloads = parse_document(text)
    frames = sum(count for payload in payloads for _, count in payload.frames or ())
    padding = _padding(payloads, len(text), frames + length + _TAIL)
    if frames + padding + length + _TAIL != size or any(_at(file, start + frames, padding)):
        raise ArtifactError("has other bytes than its document lists", hint=_DAMAGED)
    _check_header(header, document.get("fxcompress"), size)
    file.seek(start)
    tensors = {payload.name: decode_frames(payload, lambda out: _fill(file, out)) for payload in payloads}
    return document, payloads, tensors


def _check_hash(file: BinaryIO, header: bytes, size: int) -> None:
    digest, left = hashlib.sha256(), size - 32
    while left:
        data = file.read(min(left, _CHUNK))
        if not data:
            raise ArtifactError("was cut short while it was read", hint=_DAMAGED)
        digest.update(data)
        left -= len(data)
    digest.update(len(header).to_bytes(8, "little") + header)
    if digest.digest() != file.read(32):
        raise ArtifactError("is damaged: its SHA-256 is another", hint=_DAMAGED)


def _check_header(header: bytes, writer: Any, size: int) -> None:
    if type(writer) is not str or _header(writer, size, 8 + len(header))[8:] != header:
        raise ArtifactError("the header is not the one that the document demands", hint=_DAMAGED)


def _at(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


def _fill(file: BinaryIO, out: NDArray[np.uint8]) -> None:
    rest = out.data
    while rest:
        count = file.readinto(rest)  # type: ignore[attr-defined]
        if not count:
            raise ArtifactError("was cut short while it was read", hint=_DAMAGED)
        rest = rest[count:]
