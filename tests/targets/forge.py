"""Writes files in the format of artifacts, honest ones or not, without the code under test."""

from __future__ import annotations

import copy
import hashlib
import json
import math

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


def with_header(header: str | bytes, rest: bytes) -> bytes:
    raw = header.encode("utf-8", "surrogatepass") if isinstance(header, str) else header
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw + rest
