"""The node that looks weights up, in the place of a stored weight."""

from __future__ import annotations

import torch
from torch.fx import GraphModule

import fxcompress.kernels  # noqa: F401  (registers the operators)
from fxcompress.clustering.sharing import Shared
from fxcompress.graph.tensors import add_tensor, set_tensor
from fxcompress.quantizing.nodes import Inserter, read_instead
from fxcompress.weights import Weight


def insert_shared(module: GraphModule, weight: Weight, shared: Shared) -> str:
    """Store the indices under the name of `weight`, and let all that read it read what is looked up.

    Returns:
        path of the codebook: a parameter where the weight is one, and trainable where it is.
    """
    first, source = min(weight.users), weight.sources[0]
    codebook = shared.codebook
    if isinstance(weight.tensor, torch.nn.Parameter):
        codebook = torch.nn.Parameter(codebook, requires_grad=weight.tensor.requires_grad)
    stored = add_tensor(module, f"{weight.path}_codebook", codebook, first)
    made = Inserter(module, first).call(
        torch.ops.fxcompress.shared_weights.default, stored, source, name=f"{source.name}_shared"
    )
    read_instead(module, weight, made)
    set_tensor(module, weight.path, shared.indices)
    return str(stored.target)
