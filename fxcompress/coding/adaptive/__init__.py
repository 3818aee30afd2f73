"""The coder `adaptive`: probabilities that follow what was coded before, and the places in the tensor."""

from fxcompress.coding.adaptive.coder import decode, encode, share_of_entropy

__all__ = ["decode", "encode", "share_of_entropy"]
