"""What goes into a layer on the calibration data, summed up as Gram matrices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Node

import fxcompress as fxc
from fxcompress.analysis.observe import observe
from fxcompress.graph.nodes import argument
from fxcompress_lowrank.layers import Matrix, spatial_dims


def gram_matrices(
    module: GraphModule, matrices: Iterable[Matrix], batches: Iterable[fxc.Inputs]
) -> dict[str, torch.Tensor]:
    """Return for every matrix, by its path, the Gram matrix X X^T of all vectors X that it multiplies.

    Returns:
        float64 [columns, columns] on the CPU.
    """
    waiting: dict[Node, list[tuple[str, Node]]] = defaultdict(list)
    for matrix in matrices:
        for reader in matrix.readers:
            waiting[argument(reader, "input")].append((matrix.path, reader))
    sums: dict[str, torch.Tensor] = {}

    def add(node: Node, value: Any, _seconds: float) -> None:
        for path, reader in waiting.get(node, ()):
            vectors = as_vectors(reader, value).double()
            product = (vectors.T @ vectors).cpu()
            sums[path] = sums[path] + product if path in sums else product

    for batch in batches:
        observe(module, batch, add)
    return sums


def as_vectors(reader: Node, value: torch.Tensor) -> torch.Tensor:
    """Return what a layer multiplies, one vector a row: [n, columns]."""
    dims = spatial_dims(reader)
    if dims:
        seen: tuple[Any, ...] = (..., *places(reader, dims))
        value = value[seen].movedim(-dims - 1, -1)
    return value.reshape(-1, value.shape[-1])


def places(reader: Node, dims: int) -> Iterator[slice]:
    """Yield for every dimension the places at which a 1x1 convolution looks; padded ones hold zeros and add nothing."""
    padding = argument(reader, "padding")
    paddings = [0] * dims if isinstance(padding, str) else list(padding)
    for step, before in zip(per_dim(argument(reader, "stride"), dims), per_dim(paddings, dims), strict=True):
        yield slice(-before % step, None, step)


def per_dim(given: Sequence[int], dims: int) -> list[int]:
    """Return an argument of a convolution for each dimension; one number stands for all of them."""
    return list(given) * dims if len(given) == 1 else list(given)
