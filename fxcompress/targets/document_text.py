"""The document as few bytes: deflated with a dictionary of what documents are made of."""

from __future__ import annotations

import zlib

from fxcompress.errors import ArtifactError
from fxcompress.targets.document_words import WORDS

_STORED, _DEFLATED = range(2)
_BARE = -15  # deflate without head and checksum: the file has a hash


def pack_document(text: str) -> bytes:
    """Return the ASCII `text` as bytes: a method, then what it needs."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, _BARE, 9, zdict=WORDS)
    packed = compressor.compress(text.encode("ascii")) + compressor.flush()
    return min(bytes([_DEFLATED]) + packed, bytes([_STORED]) + text.encode("ascii"), key=len)


def unpack_document(data: bytes, most: int) -> str:
    """Return the text that `pack_document` packed.

    Raises:
        ArtifactError: bytes that it does not give, or a text of more than `most` bytes.
    """
    if not data or data[0] > _DEFLATED:
        raise ArtifactError("the document is packed in a way that is not known here")
    text = data[1:] if data[0] == _STORED else _inflate(data[1:], most)
    if len(text) > most or not text.isascii():
        raise ArtifactError(f"the document is no text of at most {most:,} bytes")
    return text.decode("ascii")


def _inflate(data: bytes, most: int) -> bytes:
    inflater = zlib.decompressobj(_BARE, zdict=WORDS)
    try:
        text = inflater.decompress(data, most + 1)
    except zlib.error as error:
        raise ArtifactError(f"the document does not unpack: {error}") from None
    if len(text) <= most and (not inflater.eof or inflater.unused_data):
        raise ArtifactError("the packed document does not end where it should")
    return text
