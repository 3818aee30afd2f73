"""Who answers for the teacher: a model that runs, or what was captured of one."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch.fx import GraphModule, Node

from fxcompress.capturing import Captured, Inputs, as_inputs, capture
from fxcompress.errors import UsageError
from fxcompress.graph.module import CapturedModule
from fxcompress.graph.nodes import is_call
from fxcompress.graph.tensors import named_tensors
from fxcompress.teaching.results import OUTPUT, added_nodes
from fxcompress.teaching.segments import Kept
from fxcompress.teaching.taps import find_taps, tapped


class Teacher(Protocol):
    """Answers inputs with what a trained model makes of them."""

    names: tuple[str, ...]

    def answers(self, inputs: Inputs) -> dict[str, torch.Tensor]:
        """Return a tensor for each of `names`, batch first, without gradients; `output` is the model's result."""

    def follow(self, device: torch.device) -> None:
        """Go where the student is."""


class LiveTeacher:
    """A model in evaluation mode that answers without gradients. It is no module, and so in no `state_dict()`.

    Args:
        model: an `nn.Module`, what `fxc.capture` gave, or the module of that. It is copied and stays as it is.
        taps: the values to answer with, as `find_taps` takes them.
        inputs: example inputs to capture an `nn.Module` with.
        temperature: of the tails of logits whose taps name none.
        share: read the tensors of a graph instead of copies of them; they must not change while it answers.

    Attributes:
        names: the names of the answers.
        taps: where they are read in the graph.
        kept: the dtypes of the answers, and the smallest ones that hold them, by name.

    Raises:
        PassFailed: a tap means nothing in the graph, or more than one value.
        UsageError: an `nn.Module` without example inputs.
    """

    def __init__(
        self,
        model: Any,
        taps: Sequence[str] = (OUTPUT,),
        inputs: Any = None,
        *,
        temperature: float = 1.0,
        share: bool = False,
    ) -> None:
        given = as_graph(model, inputs)
        module = given if share else copy.deepcopy(given).requires_grad_(False)
        self.taps = tuple(tap.at(temperature) for tap in find_taps(module, taps))
        self.names = tuple(key for tap in self.taps for key in tap.keys)
        self.module = tapped(module, self.taps).eval()
        self.kept = {name: kept_as(node) for name, node in added_nodes(self.module).items()}
        self.shared = share

    @torch.no_grad()
    def answers(self, inputs: Inputs) -> dict[str, torch.Tensor]:
        """Return a tensor for each of `names`, batch first, without gradients."""
        found: dict[str, torch.Tensor] = as_inputs(inputs).call(self.module)[1]
        return found

    def follow(self, device: torch.device) -> None:
        """Go where the student is."""
        if self.shared and any(tensor.device != device for _, tensor in named_tensors(self.module)):
            self.module, self.shared = copy.deepcopy(self.module), False
        self.module.to(device)


def kept_as(node: Node) -> Kept:
    """Return the dtype of what `node` gives, and the smallest one that holds it: places of logits are small numbers."""
    given: torch.Tensor = node.meta["val"]
    source = node.args[0]
    if isinstance(source, Node) and is_call(source, torch.ops.aten.topk) and node.args[1:] == (1,):
        count = source.args[0].meta["val"].shape[-1]  # type: ignore[union-attr]
        return Kept(given.dtype, torch.int16 if count <= 1 << 15 else torch.int32)
    return Kept(given.dtype, given.dtype)


def as_graph(model: Any, inputs: Any = None) -> GraphModule:
    """Return the graph of `model`, which is captured where it is none yet.

    Raises:
        UsageError: it has to be captured, and there are no example inputs.
    """
    if isinstance(model, Captured):
        return model.module
    if isinstance(model, CapturedModule):
        return model
    if inputs is None:
        raise UsageError(
            f"a teacher of class {type(model).__name__} has to be captured",
            hint="give example inputs, or fxc.capture it",
        )
    return capture(model, inputs).module
