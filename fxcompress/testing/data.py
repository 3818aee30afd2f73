"""Data for the conformance tests: other inputs of a model, batches, and runs that leave no trace in random numbers."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from fxcompress.capturing import Inputs
from fxcompress.contract import TrainingData
from fxcompress.graph.fingerprint import tensor_digest


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seed the global generators of torch, numpy and Python inside; they are as before afterwards."""
    python, array = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(array)


def shuffled(inputs: Inputs, seed: int, *, repeat: int = 1) -> Inputs:
    """Return inputs of the same kinds and ranges with their numbers in another order.

    Args:
        repeat: how often every batch is put behind itself: a tensor carries the batch where its dimension 0 is that of
            the first tensor.
    """
    generator = torch.Generator().manual_seed(seed)
    batch = next((tensor.shape[0] for tensor in inputs.tensors() if tensor.dim()), None)

    def change(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dim() and tensor.shape[0] == batch:
            tensor = torch.cat([tensor] * repeat)
        # Masks stay: in another order they may leave nothing to attend to.
        if tensor.dtype == torch.bool:
            return tensor.clone()
        order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
        return tensor.detach().flatten()[order].reshape(tensor.shape)

    return inputs.map_tensors(change)


def training_data(model: torch.nn.Module, batches: list[Inputs]) -> TrainingData:
    """Return data that teaches a model its own results: the loss is their mean squared difference."""
    return TrainingData([(batch, results(model, batch)) for batch in batches], squared_difference)


def squared_difference(outputs: Any, targets: list[Any]) -> torch.Tensor:
    """Return the mean squared difference of all floating results."""
    pairs = zip(floating(pytree.tree_leaves(outputs)), floating(targets), strict=True)
    return torch.stack([(output - target).square().mean() for output, target in pairs]).sum()


def results(model: torch.nn.Module, inputs: Inputs, seed: int = 0) -> list[Any]:
    """Return the flat results of a copy of `model` in evaluation mode."""
    module = copy.deepcopy(model).eval()
    return results_of(module, inputs, seed)


def results_of(module: torch.nn.Module, inputs: Inputs, seed: int = 0) -> list[Any]:
    """Return the flat results of `module` in its present mode, without gradients."""
    with global_seed(seed), torch.no_grad():
        outputs = inputs.map_tensors(torch.clone).call(module)
    return pytree.tree_leaves(outputs)


def floating(leaves: list[Any]) -> list[torch.Tensor]:
    """Return the tensors among `leaves` that have floating or complex numbers."""
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    return [tensor for tensor in tensors if tensor.is_floating_point() or tensor.is_complex()]


def digests(values: Any) -> list[str]:
    """Return what two nests of tensors and constants have equal only if they are equal to the bit."""
    leaves = pytree.tree_leaves(values)
    return [tensor_digest(leaf) if isinstance(leaf, torch.Tensor) else repr(leaf) for leaf in leaves]
