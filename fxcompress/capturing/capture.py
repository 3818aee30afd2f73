"""From a model to a graph: `capture(model, example_inputs)`."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.export import ExportedProgram

from fxcompress.capturing.batch import takes_any_size
from fxcompress.capturing.clean import clean
from fxcompress.capturing.export import Traced, export_model
from fxcompress.capturing.inputs import Inputs, as_inputs
from fxcompress.capturing.tensors import with_own_tensors
from fxcompress.capturing.training import Training, compare_modes, set_attention_dropout
from fxcompress.errors import ModelError, UsageError, VerificationFailed
from fxcompress.graph.module import CapturedModule, mark_always_training
from fxcompress.graph.parameters import parameters_of
from fxcompress.graph.shapes import propagate
from fxcompress.text import listing


class CaptureWarning(UserWarning):
    """What was captured holds for less than was asked for."""


@dataclass(frozen=True)
class Captured:
    """A model as a graph.

    Attributes:
        module: the graph, with its own copies of the model's tensors under their old names; in evaluation mode.
        inputs: the example inputs that it was captured with.
        notes: what a report should say of the capture, a sentence each.
        dynamic: whether the module takes any batch size.
    """

    module: CapturedModule
    inputs: Inputs
    notes: tuple[str, ...] = ()
    dynamic: bool = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


def capture(model: Any, example_inputs: Any, dynamic: str | bool = "batch") -> Captured:
    """Capture `model` as a graph of ATen calls in one dialect; the model itself is not changed.

    Args:
        model: an `nn.Module`, also one made by `torch.fx.symbolic_trace`; an `ExportedProgram`; what `capture` gave.
        example_inputs: a tuple of positional arguments, a dict of keyword arguments, `Inputs`, or one tensor.
        dynamic: `"batch"` for a graph that takes any batch size, where the model allows it; `"none"` for fixed sizes.

    Raises:
        InputError: the inputs do not fit the model.
        ModelError: `model` is nothing that can be captured.
        CaptureError: the model cannot be captured; names the place in it.
    """
    inputs = as_inputs(example_inputs)
    wanted = _wants_dynamic(dynamic)
    if isinstance(model, Captured | CapturedModule):
        return _again(model.module if isinstance(model, Captured) else model, inputs)
    if isinstance(model, ExportedProgram):
        made = _finish(Traced(model, shares_memory=False), None, inputs, Training())
        return _again(made.module, inputs)
    if isinstance(model, nn.Module):
        return _finish(export_model(model, inputs, wanted), model, inputs, compare_modes(model, inputs))
    raise ModelError(f"a {type(model).__name__} is no model", hint="give a torch.nn.Module or an ExportedProgram")


def _again(module: CapturedModule, inputs: Inputs) -> Captured:
    """Return a module that was captured before, with other example inputs, which have to fit."""
    module.call_form().fit(inputs.args, inputs.kwargs)
    return Captured(module, inputs, tuple(module.meta.get("notes", ())), takes_any_size(module.graph))


def _wants_dynamic(dynamic: str | bool) -> bool:
    if dynamic in ("batch", "none", True, False, None):
        return dynamic in ("batch", True)
    raise UsageError(f"dynamic={dynamic!r} is not known", hint="dynamic is 'batch' or 'none'")


def _finish(traced: Traced, model: nn.Module | None, inputs: Inputs, training: Training) -> Captured:
    """Clean what export gave and put it into a module of its own, with the tensors of `model` where it is given."""
    raw = traced.program.module(check_guards=False)
    source = raw if model is None else model
    notes = [*training.notes, *clean(raw, traced.shares_memory)]
    module = with_own_tensors(raw, source)
    module.meta["parameters"] = parameters_of(source.forward)
    module.meta["batch_sizes"] = traced.batch_sizes
    mark_always_training(module.graph)
    if traced.own_gradients:
        notes.append(
            f"the gradients are those of the forward, not the model's own, of: {listing(traced.own_gradients)}"
        )
    if not set_attention_dropout(module.graph, training.attention):
        notes.append("train() does not bring back all of the dropout inside of attention")
    module.eval()
    limits = [*traced.notes, *_type(module)]
    module.recompile()
    module.meta["notes"] = (*limits, *notes)
    if limits:
        warnings.warn(CaptureWarning("; ".join(limits)), stacklevel=3)
    return Captured(module, inputs, (*limits, *notes), takes_any_size(module.graph))


def _type(module: CapturedModule) -> list[str]:
    """Type all nodes in a shape environment of their own; return what a user is to be warned of."""
    try:
        fixed = propagate(module).specialised
    except VerificationFailed as error:
        return [f"the nodes cannot be typed anew, and keep the types that export gave them: {error.message}"]
    return [f"the batch size is fixed by %{fixed[0].node}"] if fixed else []
