"""Which places of a batch of token sequences are tokens, and not padding."""

from __future__ import annotations

import torch
from torch.fx import GraphModule

from fxcompress.analysis.observe import flat_inputs
from fxcompress.capturing import Inputs
from fxcompress.errors import PassFailed
from fxcompress.text import suggestion


def check_mask(module: GraphModule, name: str | None) -> None:
    """Raise PassFailed where the graph has no input `name`; None asks for none."""
    names = _inputs_of(module)
    if name and name not in names:
        raise PassFailed(f"the model has no input {name!r}", hint=suggestion(name, names))


def tokens_of(module: GraphModule, inputs: Inputs, name: str | None) -> torch.Tensor | None:
    """Return where the input `name` is not zero, bool; None where there is no `name`."""
    if not name:
        return None
    value = flat_inputs(module, inputs)[_inputs_of(module).index(name)]
    return None if value is None else value != 0


def kept(value: torch.Tensor, tokens: torch.Tensor | None) -> torch.Tensor:
    """Return the places of `value` that are tokens, [tokens, ...], where it has a place for each; else all of it."""
    if tokens is None or value.shape[: tokens.dim()] != tokens.shape:
        return value
    return value[tokens.to(value.device)]


def _inputs_of(module: GraphModule) -> list[str]:
    return [str(node.target) for node in module.graph.find_nodes(op="placeholder")]
