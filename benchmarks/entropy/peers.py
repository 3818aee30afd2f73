"""Coders of others behind one form: bytes of symbols in, something coded out, and back."""

from __future__ import annotations

import importlib.util
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxcompress.coding import CODERS, Block, decode_block, encode_block

Symbols = NDArray[np.uint8]


@dataclass(frozen=True)
class Contender:
    """A coder of u8[rows, columns].

    Attributes:
        encode: gives what is coded and its size in bytes.
        decode: gives the symbols again.
    """

    encode: Callable[[Symbols], tuple[Any, int]]
    decode: Callable[[Any, tuple[int, ...]], Symbols]


def contenders() -> dict[str, Contender]:
    """Return ours and those peers that are installed, by their names."""
    made = {f"fxcompress {name}": _ours(name) for name in (*CODERS, "auto") if name not in ("raw", "planes")}
    made["zlib 6"] = _deflate(6, zlib.Z_DEFAULT_STRATEGY)
    made["zlib huffman only"] = _deflate(6, zlib.Z_HUFFMAN_ONLY)
    for module, add in {"zstandard": _zstd, "constriction": _constriction, "simple_ans": _simple_ans}.items():
        if importlib.util.find_spec(module):
            made |= add()
    if importlib.util.find_spec("nncodec"):
        made |= _nncodec()
    return made


def _ours(name: str) -> Contender:
    def encode(values: Symbols) -> tuple[Any, int]:
        coder, data = encode_block(Block(values.reshape(-1), values.shape), name)
        return (coder, bytes(data)), len(data)

    def decode(coded: Any, shape: tuple[int, ...]) -> Symbols:
        out = np.empty(int(np.prod(shape)), np.uint8)
        decode_block(coded[0], coded[1], out)
        return out.reshape(shape)

    return Contender(encode, decode)


def _plain(encode: Callable[[bytes], bytes], decode: Callable[[bytes], bytes]) -> Contender:
    def encoded(values: Symbols) -> tuple[Any, int]:
        data = encode(values.tobytes())
        return data, len(data)

    return Contender(encoded, lambda data, shape: np.frombuffer(decode(data), np.uint8).reshape(shape))


def _deflate(level: int, strategy: int) -> Contender:
    def encode(data: bytes) -> bytes:
        compressor = zlib.compressobj(level, zlib.DEFLATED, 15, 9, strategy)
        return compressor.compress(data) + compressor.flush()

    return _plain(encode, zlib.decompress)


def _zstd() -> dict[str, Contender]:
    import zstandard

    decode = zstandard.ZstdDecompressor().decompress
    return {f"zstd {level}": _plain(zstandard.ZstdCompressor(level).compress, decode) for level in (1, 19)}


def _constriction() -> dict[str, Contender]:
    import constriction

    ans, categorical = constriction.stream.stack.AnsCoder, constriction.stream.model.Categorical

    def encode(values: Symbols) -> tuple[Any, int]:
        counts = np.bincount(values.reshape(-1)).astype(np.float64)
        model, coder = categorical(counts / counts.sum(), perfect=False), ans()
        coder.encode_reverse(values.reshape(-1).astype(np.int32), model)
        words = coder.get_compressed()
        # The receiver needs the frequencies too: two bytes each, as in our tables.
        return (words, model), words.nbytes + 2 * counts.size

    def decode(coded: Any, shape: tuple[int, ...]) -> Symbols:
        words, model = coded
        return np.asarray(ans(words).decode(model, int(np.prod(shape)))).astype(np.uint8).reshape(shape)

    return {"constriction ANS": Contender(encode, decode)}


def _simple_ans() -> dict[str, Contender]:
    import simple_ans

    def encode(values: Symbols) -> tuple[Any, int]:
        coded = simple_ans.ans_encode(values.reshape(-1))
        return coded, coded.size()

    return {"simple-ans": Contender(encode, lambda coded, shape: simple_ans.ans_decode(coded).reshape(shape))}


def _nncodec() -> dict[str, Contender]:
    """The arithmetic coder of NNCodec (DeepCABAC) alone, without its quantizer and its container."""
    from nncodec.extensions import deepCABAC as cabac  # noqa: N813

    unary, off = 10, np.zeros(0, np.int8)

    def encode(values: Symbols) -> tuple[Any, int]:
        coder = cabac.Encoder()
        coder.initCtxModels(unary, 0)
        rows = np.zeros(values.shape[0], np.int32)
        # Codes of a codebook are signed around its zero; here zero is the first.
        coder.encodeLayer(values.astype(np.int32), 0, 0, 0, 0, 0, rows, cabac.HdspMode.AlwaysOff, off, 0, 0)
        data = np.array(coder.finish(), np.uint8)
        return data, data.nbytes

    def decode(data: Any, shape: tuple[int, ...]) -> Symbols:
        out, coder = np.zeros(shape, np.int32), cabac.Decoder()
        coder.setStream(data)
        coder.initCtxModels(unary)
        coder.decodeLayer(out, 0, 0, 0, 0, cabac.HdspMode.AlwaysOff, off, 0, 0)
        return out.astype(np.uint8)

    return {"NNCodec DeepCABAC": Contender(encode, decode)}
