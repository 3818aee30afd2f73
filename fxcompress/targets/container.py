"""The file: a safetensors container with one header that its document determines to the byte.

This is version 1 of the format, the plain one; version 2, the coded one, is in `coded_file.py`.

    8 bytes   length of the header, little-endian
    header    {"__metadata__": {format, version, fxcompress, sha256, document}, name: {dtype, shape, data_offsets}, ...}
    payloads  one after another, no gaps

Whoever reads rebuilds the header from the document and demands the same bytes. So there is nothing to overlap, to leave
open or to hide, and every byte of the file stands under a hash or is compared.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from fxcompress.errors import ArtifactError
from fxcompress.targets import coded_file
from fxcompress.targets.json_text import dump, parse, record, short, unique
from fxcompress.targets.payloads import Payload, bytes_of, payload_from_json, tensor_from

FORMAT = "fxcompress"
VERSION = 1
MAX_HEADER = 100_000_000  # the same limit as in safetensors, so that its other readers open what we write
_DAMAGED = "the file is damaged; save it again"
_FOREIGN = "name a file that fxcompress has saved (.fxc)"


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        document: JSON; its field `payloads` lists the tensors.
        payloads: the same, read.
        tensors: by the names of the payloads.
        version: of the format.
        writer: the version of fxcompress that wrote the file.
        size: of the file, in bytes.
    """

    document: dict[str, Any]
    payloads: list[Payload]
    tensors: dict[str, torch.Tensor]
    version: int
    writer: str
    size: int


def header_bytes(document: str, payloads: Sequence[Payload], writer: str) -> bytes:
    """Return the header with its length in front, padded so that payloads begin at a multiple of eight."""
    digest = hashlib.sha256(document.encode()).hexdigest()
    metadata = {"format": FORMAT, "version": str(VERSION), "fxcompress": writer, "sha256": digest, "document": document}
    entries: dict[str, Any] = {"__metadata__": metadata}
    start = 0
    for payload in payloads:
        entries[payload.name] = payload.header_entry(start)
        start += payload.nbytes
    text = dump(entries).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise ArtifactError(f"the graph takes {len(text):,} bytes; an artifact holds at most {MAX_HEADER:,}")
    return len(text).to_bytes(8, "little") + text


def write(file: BinaryIO, header: bytes, tensors: Iterable[torch.Tensor]) -> None:
    """Write the header and the bytes of all tensors, in their order."""
    file.write(header)
    for tensor in tensors:
        file.write(bytes_of(tensor))


def read(path: Path) -> Content:
    """Return the content of a file, every byte of it checked, in memory of no more than a small multiple of its size.

    Raises:
        ArtifactError: missing, no file, not ours, too new, damaged.
    """
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        header = _read_header(file, size)
        version, metadata = _read_metadata(header)
        if version == coded_file.VERSION:
            document, payloads, tensors = coded_file.read(file, header, lambda text: _read_document(text, coded=True))
            return Content(document, payloads, tensors, version, document["fxcompress"], size)
        writer, text = _checked_document(metadata)
        document, payloads = _read_document(text)
        _check_header(header, text, payloads, document.get("fxcompress"), size)
        tensors = {payload.name: _read_payload(file, payload) for payload in payloads}
    return Content(document, payloads, tensors, version, writer, size)


def _opened(path: Path) -> BinaryIO:
    try:
        # Without this flag the opening of a pipe would wait for somebody to write.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"cannot be opened: {getattr(error, 'strerror', None) or error}", hint=_FOREIGN) from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ArtifactError("is no file", hint=_FOREIGN)
    return os.fdopen(handle, "rb")


def _read_header(file: BinaryIO, size: int) -> bytes:
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise ArtifactError(f"is no artifact, or was cut short: it has {size:,} bytes", hint=_FOREIGN)
    if length > MAX_HEADER:
        raise ArtifactError(f"has a header of {length:,} bytes; {MAX_HEADER:,} are allowed", hint=_FOREIGN)
    header = file.read(length)
    if len(header) != length or not header.startswith(b"{"):
        raise ArtifactError("is no artifact: it does not begin with a safetensors header", hint=_FOREIGN)
    return header


def _read_metadata(header: bytes) -> tuple[int, dict[str, Any]]:
    """Return the version of the format and the metadata."""
    try:
        entries = parse(header.decode("ascii"), "the header", max_depth=4)
    except UnicodeDecodeError:
        raise ArtifactError("the header has bytes that are no ASCII", hint=_DAMAGED) from None
    metadata = entries.get("__metadata__") if isinstance(entries, dict) else None
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ArtifactError("is a safetensors file but no artifact: it says nothing of a graph", hint=_FOREIGN)
    version, writer = metadata.get("version"), metadata.get("fxcompress")
    if not isinstance(version, str) or not (version.isascii() and version.isdigit() and len(version) < 10):
        raise ArtifactError(f"has a format version that is no number: {short(version)}", hint=_DAMAGED)
    if int(version) > coded_file.VERSION:
        raise ArtifactError(
            f"has the format version {version}; this fxcompress reads up to {coded_file.VERSION}",
            hint=f"load it with fxcompress {short(writer)} or later, which wrote it",
        )
    return int(version), metadata


def _checked_document(metadata: dict[str, Any]) -> tuple[str, str]:
    """Return the writer and the text of the document, whose hash is checked."""
    fields = record(metadata, "the metadata", _METADATA)
    document = fields["document"]
    if not document.isascii() or hashlib.sha256(document.encode()).hexdigest() != fields["sha256"]:
        raise ArtifactError("the graph is damaged: its SHA-256 is another", hint=_DAMAGED)
    return fields["fxcompress"], document


_METADATA: dict[str, type] = dict.fromkeys(("format", "version", "fxcompress", "sha256", "document"), str)


def _read_document(text: str, coded: bool = False) -> tuple[dict[str, Any], list[Payload]]:
    document = parse(text, "the document")
    if not isinstance(document, dict) or not isinstance(document.get("payloads"), list):
        raise ArtifactError("the document lists no payloads", hint=_DAMAGED)
    payloads = [payload_from_json(value, coded) for value in document["payloads"]]
    unique((payload.name for payload in payloads), "the payload")
    return document, payloads


def _check_header(header: bytes, text: str, payloads: list[Payload], writer: Any, size: int) -> None:
    total = 8 + len(header) + sum(payload.nbytes for payload in payloads)
    if total != size:
        raise ArtifactError(f"has {size:,} bytes where it should have {total:,}: cut short or added to", hint=_DAMAGED)
    if "__metadata__" in {payload.name for payload in payloads}:
        raise ArtifactError("a tensor is called like the metadata", hint=_DAMAGED)
    if header_bytes(text, payloads, writer)[8:] != header:
        raise ArtifactError("the header is not the one that the document demands", hint=_DAMAGED)


def _read_payload(file: BinaryIO, payload: Payload) -> torch.Tensor:
    content = torch.empty(payload.nbytes, dtype=torch.uint8)
    whole = rest = memoryview(content.numpy())  # type: ignore[arg-type]  # numpy's types do not know that it is a buffer
    while rest:
        count = file.readinto(rest)  # type: ignore[attr-defined]
        if not count:
            raise ArtifactError("was cut short while it was read", hint=_DAMAGED)
        rest = rest[count:]
    if hashlib.sha256(whole).hexdigest() != payload.sha256:
        raise ArtifactError(f"the tensor {short(payload.name)} is damaged: its SHA-256 is another", hint=_DAMAGED)
    return tensor_from(payload, content)
