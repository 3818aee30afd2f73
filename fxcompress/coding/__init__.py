"""Entropy coding: arrays of elements as few bytes, and back, bit for bit. Knows nothing of graphs and files."""

from fxcompress.coding.coders import (
    AUTO,
    CODERS,
    NONE,
    Block,
    check_coding,
    decode_block,
    encode_block,
    entropy_bytes,
)

__all__ = ["AUTO", "CODERS", "NONE", "Block", "check_coding", "decode_block", "encode_block", "entropy_bytes"]
