"""What the model returns and also goes on with: it is returned in its old size, with zeros where slots are gone."""

from __future__ import annotations

import numpy as np
import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.axes.analyse import Axes
from fxcompress.analysis.axes.axis import TAPPED, Axis
from fxcompress.analysis.axes.groups import Kept, Mask
from fxcompress.graph.tensors import add_tensor

aten = torch.ops.aten


def give_back(module: GraphModule, axes: Axes, kept: Kept) -> None:
    """Put zeros in the place of removed slots into what the model returns of its intermediate values."""
    output = next(iter(module.graph.find_nodes(op="output")))
    for source in list(output.all_input_nodes):
        made = source
        for role in axes.roles[output]:
            axis = role.axes[0]
            mask = kept.positions(axis.term) if role.kind == TAPPED and _gives(axes, source, axis) else None
            if mask is not None:
                made = _with_zeros(module, made, axis, mask, output)
        if made is not source:
            output.replace_input_with(source, made)


def _gives(axes: Axes, node: Node, axis: Axis) -> bool:
    return any(value is axis.value for value in axes.values[node])


def _with_zeros(module: GraphModule, node: Node, axis: Axis, mask: Mask, output: Node) -> Node:
    """Return a node that gives `node` with its positions along `axis` where `mask` is true, and zeros elsewhere."""
    places = np.where(mask, np.cumsum(mask) - 1, int(mask.sum()))
    device = node.meta["val"].device
    index = add_tensor(module, "places_of_kept", torch.from_numpy(places).to(device), output, persistent=True)
    behind = len(axis.value.axes) - 1 - axis.dim
    with module.graph.inserting_before(output):
        padded = module.graph.call_function(aten.constant_pad_nd.default, (node, [0, 0] * behind + [0, 1]))
        made = module.graph.call_function(aten.index_select.default, (padded, axis.dim, index))
    for one in (padded, made):
        one.meta["nn_module_stack"] = node.meta.get("nn_module_stack", {})
    return made
