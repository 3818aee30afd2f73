"""The attributes of PyTorch's own layers: what each says of its tensors, and what the graph's calls say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node

from fxcompress.graph.nodes import argument, is_call, scope
from fxcompress.graph.operators import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS

aten = torch.ops.aten
_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONV_CALLS = (*CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS)
_BATCH_NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
Attributes = dict[str, Any]


def known_attributes(module: nn.Module, calls: list[Node]) -> Attributes | None:
    """Return what the size attributes of a layer of PyTorch's are, now that its tensors have their new sizes.

    None for every other module.

    Args:
        module: with its new tensors.
        calls: the calls of the compressed graph that were captured in it.
    """
    for kinds, rule in _RULES:
        if isinstance(module, kinds):
            return rule(module, calls)
    return None


def calls_by_scope(module: GraphModule) -> dict[str, list[Node]]:
    """Return the calls of a graph by the path of the innermost module that they were captured in."""
    found: dict[str, list[Node]] = {}
    for node in module.graph.nodes:
        if node.op == "call_function":
            found.setdefault(scope(node), []).append(node)
    return found


def _argument(calls: Iterable[Node], packets: tuple[Any, ...], name: str, default: Any) -> Any:
    """Return the argument that all calls of `packets` have, `default` where there is none."""
    found = [argument(node, name) for node in calls if is_call(node, *packets)]
    return found[0] if found and all(value == found[0] for value in found) else default


def _linear(module: Any, _: list[Node]) -> Attributes:
    return {"out_features": module.weight.shape[0], "in_features": module.weight.shape[1]}


def _conv(module: Any, calls: list[Node]) -> Attributes:
    groups = _argument(calls, _CONV_CALLS, "groups", module.groups)
    rows, columns = module.weight.shape[:2]
    return {"groups": groups, "out_channels": rows, "in_channels": columns * groups}


def _transposed(module: Any, calls: list[Node]) -> Attributes:
    groups = _argument(calls, _CONV_CALLS, "groups", module.groups)
    rows, columns = module.weight.shape[:2]
    return {"groups": groups, "out_channels": columns * groups, "in_channels": rows}


def _batch_norm(module: Any, _: list[Node]) -> Attributes:
    held = module.weight if module.weight is not None else module.running_mean
    return {} if held is None else {"num_features": held.shape[0]}


def _layer_norm(module: Any, calls: list[Node]) -> Attributes:
    given = _argument(calls, (aten.layer_norm, aten.rms_norm), "normalized_shape", module.normalized_shape)
    return {"normalized_shape": tuple(given if module.weight is None else module.weight.shape)}


def _group_norm(module: Any, calls: list[Node]) -> Attributes:
    groups = _argument(calls, (aten.group_norm,), "num_groups", module.num_groups)
    return {"num_groups": groups, **({} if module.weight is None else {"num_channels": module.weight.shape[0]})}


def _embedding(module: Any, _: list[Node]) -> Attributes:
    return {"num_embeddings": module.weight.shape[0], "embedding_dim": module.weight.shape[1]}


_RULES: tuple[tuple[Any, Callable[[Any, list[Node]], Attributes]], ...] = (
    (nn.Linear, _linear),
    (_CONVS, _conv),
    (_TRANSPOSED, _transposed),
    (_BATCH_NORMS, _batch_norm),
    ((nn.LayerNorm, nn.RMSNorm), _layer_norm),
    (nn.GroupNorm, _group_norm),
    ((nn.Embedding, nn.EmbeddingBag), _embedding),
)
