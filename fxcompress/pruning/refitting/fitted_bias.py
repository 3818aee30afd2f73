"""The bias of a layer in a fit: one more column of its inputs, or taken off its targets where others share it."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import set_argument
from fxcompress.graph.tensors import Sources, add_tensor, tensor_of
from fxcompress.weights.layer_rows import Layer, bias_name


class FittedBias:
    """The bias of one layer.

    Args:
        sources: the nodes by the stored tensor that they read.
        make: whether a layer without a bias gets one.
    """

    def __init__(self, module: GraphModule, sources: Sources, layer: Layer, *, make: bool) -> None:
        self.module, self.layer = module, layer
        self.tensor = tensor_of(module, layer.bias)
        self.fitted = make if layer.bias is None else sources.readers(layer.bias) == {layer.node}

    def joined(self, matrix: torch.Tensor) -> torch.Tensor:
        """Return a weight [groups, width, outputs] with the bias as one more row of each group."""
        if not self.fitted:
            return matrix
        row = matrix.new_zeros(matrix.shape[0], 1, matrix.shape[2])
        return torch.cat([matrix, row if self.tensor is None else self._row(matrix.shape[0])], 1)

    def inputs(self, rows: torch.Tensor) -> torch.Tensor:
        """Return inputs [groups, rows, width], with a column of ones behind them for the bias."""
        return torch.cat([rows, rows.new_ones(*rows.shape[:2], 1)], 2) if self.fitted else rows

    def targets(self, rows: torch.Tensor) -> torch.Tensor:
        """Return targets [groups, rows, outputs], without a bias that is not fitted."""
        return rows if self.fitted or self.tensor is None else rows - self._row(rows.shape[0])

    def store(self, matrix: torch.Tensor) -> tuple[torch.Tensor, Node | None]:
        """Store the bias of a fitted weight; return the weight without it, and the node of a new bias."""
        if not self.fitted:
            return matrix, None
        bias = matrix[:, -1].flatten()
        if self.tensor is not None:
            with torch.no_grad():
                self.tensor.copy_(bias)
            return matrix[:, :-1], None
        return matrix[:, :-1], self._add(bias)

    def _row(self, groups: int) -> torch.Tensor:
        assert self.tensor is not None
        return self.tensor.detach().double().view(groups, 1, -1)

    def _add(self, bias: torch.Tensor) -> Node:
        weight = self.module.get_parameter(self.layer.path)
        made = torch.nn.Parameter(bias.to(weight.dtype), requires_grad=weight.requires_grad)
        path = f"{self.layer.path.rpartition('.')[0]}.bias".lstrip(".")
        node = add_tensor(self.module, path, made, self.layer.node)
        set_argument(self.layer.node, bias_name(self.layer.node), node)
        return node
