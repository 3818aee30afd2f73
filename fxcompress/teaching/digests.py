"""Samples by what they are: a digest of the input tensors of each sample of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from fxcompress.analysis.observe import flat_inputs
from fxcompress.capturing import Inputs
from fxcompress.errors import InputError
from fxcompress.graph.fingerprint import tensor_bytes

# Bytes of a digest: two of a thousand million samples are alike by chance once in 10^20 data sets.
WIDTH = 16


def leaves_of(inputs: Inputs) -> list[Any]:
    """Return the values of a call: positional ones, then those given by name in the order of the names."""
    named = [inputs.kwargs[name] for name in sorted(inputs.kwargs)]
    return pytree.tree_leaves((list(inputs.args), named))


def per_sample(module: GraphModule, inputs: Inputs) -> tuple[bool, ...]:
    """Return for each of `leaves_of(inputs)` whether it holds a row for each sample of the batch.

    Where the graph takes any batch size, these are its inputs whose first size is open, else the tensors whose first
    size is that of the first.

    Raises:
        InputError: no input is a tensor with a dimension.
    """
    leaves = leaves_of(inputs)
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.dim() > 0]
    if not tensors:
        raise InputError(f"the inputs {inputs.describe()} hold no samples", hint="give a tensor with a batch dimension")
    open_ones = _open_inputs(module, inputs)
    count = tensors[0].shape[0]
    return tuple(
        isinstance(leaf, torch.Tensor)
        and leaf.dim() > 0
        and (id(leaf) in open_ones if open_ones else leaf.shape[0] == count)
        for leaf in leaves
    )


def _open_inputs(module: GraphModule, inputs: Inputs) -> set[int]:
    """Return the ids of the tensors whose first size is open in the graph."""
    values = flat_inputs(module, inputs)
    nodes = module.graph.find_nodes(op="placeholder")
    types = [node.meta.get("val") for node in nodes]
    return {
        id(value)
        for value, given in zip(values, types, strict=True)
        if isinstance(given, torch.Tensor) and given.dim() > 0 and not isinstance(given.shape[0], int)
    }


def sample_digests(inputs: Inputs, batched: tuple[bool, ...]) -> np.ndarray[Any, Any]:
    """Return a digest for each sample of a batch, uint8 [samples, 16]: blake2b of bytes, dtypes and shapes.

    Args:
        batched: which of the values of the call hold a row for each sample; what the others hold belongs to all.

    Raises:
        InputError: the inputs are of another structure than `batched`, or their batch sizes differ.
    """
    leaves = leaves_of(inputs)
    if len(leaves) != len(batched) or not all(
        isinstance(one, torch.Tensor) for one, row in zip(leaves, batched, strict=True) if row
    ):
        raise InputError(f"the inputs {inputs.describe()} are not what was captured: {len(batched)} values")
    rows = [leaf.detach().cpu() for leaf, row in zip(leaves, batched, strict=True) if row]
    counts = {len(row) for row in rows}
    if len(counts) != 1:
        raise InputError(f"the inputs {inputs.describe()} are of different batch sizes")
    shared = blake2b(digest_size=WIDTH)
    for leaf, row in zip(leaves, batched, strict=True):
        _add_shared(shared, leaf, row)
    return _each(shared, rows, counts.pop())


def _add_shared(digest: Any, leaf: Any, row: bool) -> None:
    """Add to `digest` what a value of the call is for all samples."""
    if not isinstance(leaf, torch.Tensor):
        digest.update(f"{leaf!r};".encode())
        return
    shape = tuple(leaf.shape[1:] if row else leaf.shape)
    digest.update(f"{leaf.dtype}{shape};".encode())
    if not row:
        digest.update(tensor_bytes(leaf))


def _each(shared: Any, rows: list[torch.Tensor], count: int) -> np.ndarray[Any, Any]:
    content = [(tensor_bytes(row), row[0].numel() * row.element_size() if count else 0) for row in rows]
    found = bytearray()
    for index in range(count):
        digest = shared.copy()
        for data, size in content:
            digest.update(data[index * size : (index + 1) * size])
        found += digest.digest()
    return np.frombuffer(bytes(found), dtype=np.uint8).reshape(count, WIDTH)


def numbered(segments: Sequence[np.ndarray[Any, Any]]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the digests of all segments, uint8 [samples, 16], and segment and row of each, int64 [samples, 2]."""
    digests, places = [np.empty((0, WIDTH), dtype=np.uint8)], [np.empty((0, 2), dtype=np.int64)]
    for number, one in enumerate(segments):
        digests.append(one)
        places.append(np.stack([np.full(len(one), number), np.arange(len(one))], 1))
    return np.concatenate(digests), np.concatenate(places)


class Index:
    """Finds samples by their digests; 32 bytes a sample.

    Args:
        digests: uint8 [samples, 16], each once.
        places: int64 [samples, 2], the segment and the row in it.
    """

    def __init__(self, digests: np.ndarray[Any, Any], places: np.ndarray[Any, Any]) -> None:
        words = np.ascontiguousarray(digests).view(np.uint64)
        order = np.argsort(words[:, 0], kind="stable")
        self.first, self.second = words[order, 0], words[order, 1]
        self.places = places[order]

    def __len__(self) -> int:
        return len(self.first)

    def find(self, digests: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return int64 [samples, 2], segment and row of each; -1 where a sample is not there."""
        words = np.ascontiguousarray(digests).view(np.uint64)
        found = np.full((len(words), 2), -1, dtype=np.int64)
        starts = np.searchsorted(self.first, words[:, 0])
        for sample, (first, second) in enumerate(words):
            place = starts[sample]
            while place < len(self) and self.first[place] == first:
                if self.second[place] == second:
                    found[sample] = self.places[place]
                    break
                place += 1
        return found
