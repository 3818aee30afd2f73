"""Writes files in the format of artifacts, honest ones or not, without the code under test."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import zlib

WIDTHS = {"float32": 4, "int64": 8, "int8": 1, "bool": 1, "uint8": 1, "float64": 8, "bfloat16": 2}
NAMES = {
    "float32": "F32",
    "int64": "I64",
    "int8": "I8",
    "bool": "BOOL",
    "uint8": "U8",
    "float64": "F64",
    "bfloat16": "BF16",
}


def compact(value) -> str:
    return json.dumps(value, separators=(",", ":"))


def unpack(data: bytes) -> tuple[dict, dict, list[bytes]]:
    """Return metadata, document and the payloads' bytes of a good file."""
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    document = json.loads(metadata["document"])
    start, blobs = 8 + length, []
    for payload in document["payloads"]:
        size = math.prod(payload["shape"]) * WIDTHS[payload["dtype"]]
        blobs.append(data[start : start + size])
        start += size
    assert start == len(data)
    return metadata, document, blobs


def pack(metadata: dict, document, blobs: list[bytes], *, text: str | None = None, rehash: bool = True) -> bytes:
    """Return a file whose header and hashes fit `document` and `blobs`, as a careful attacker would write it."""
    document = copy.deepcopy(document)
    payloads = document.get("payloads", []) if isinstance(document, dict) else []
    entries, start = {}, 0
    for payload, blob in zip(payloads if isinstance(payloads, list) else [], blobs, strict=False):
        if not isinstance(payload, dict):
            continue
        if rehash:
            payload["sha256"] = hashlib.sha256(blob).hexdigest()
        entries[str(payload.get("name"))] = {
            "dtype": NAMES.get(str(payload.get("dtype")), "U8"),
            "shape": payload.get("shape"),
            "data_offsets": [start, start + len(blob)],
        }
        start += len(blob)
    text = compact(document) if text is None else text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    metadata = {**metadata, "sha256": digest, "document": text}
    return with_header(compact({"__metadata__": metadata, **entries}), b"".join(blobs))


def unpack_coded(data: bytes, words: bytes) -> tuple[dict, bytes]:
    """Return the document and the frames of a good file of format 2, whose documents are deflated with `words`."""
    start = 8 + int.from_bytes(data[:8], "little")
    assert data[-32:] == hashlib.sha256(data[start:-32] + data[:start]).digest()
    end = len(data) - 36
    packed = data[end - int.from_bytes(data[-36:-32], "little") : end]
    assert packed[0] == 1
    text = zlib.decompressobj(-15, zdict=words).decompress(packed[1:])
    return json.loads(text), data[start : end - len(packed)]


def pack_coded(document, frames: bytes, *, packed: bytes | None = None, length: int | None = None) -> bytes:
    """Return a file of format 2 whose hash and sizes fit, with the document as it is unless `packed` is given."""
    packed = b"\0" + compact(document).encode() if packed is None else packed
    rest = frames + packed + (len(packed) if length is None else length).to_bytes(4, "little")
    size = len(rest) + 32
    entry = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
    metadata = {"format": "fxcompress", "version": "2", "fxcompress": "0.1.0"}
    header = with_header(compact({"__metadata__": metadata, "coded": entry}), b"")
    return header + rest + hashlib.sha256(rest + header).digest()


def with_header(header: str | bytes, rest: bytes) -> bytes:
    raw = header.encode("utf-8", "surrogatepass") if isinstance(header, str) else header
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw + rest
