"""Traces a model with `torch.export`, the batch dynamic where the model allows it."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.export import ExportedProgram

from fxcompress.capturing.batch import BatchInputs, batch_inputs, one_batch, static_inputs
from fxcompress.capturing.failures import capture_failure
from fxcompress.capturing.inputs import Inputs
from fxcompress.capturing.preserve import preserved
from fxcompress.errors import InputError


@dataclass(frozen=True)
class Traced:
    """What export gave, and what a report should say of it."""

    program: ExportedProgram
    notes: tuple[str, ...]


def export_model(model: nn.Module, inputs: Inputs, dynamic: bool) -> Traced:
    """Trace `model` in evaluation mode; try a dynamic batch first where `dynamic`, then fixed sizes.

    Raises:
        InputError: the inputs do not fit the signature of the model.
        CaptureError: `torch.export` does not take the model.
    """
    _check_signature(model, inputs)
    batch = batch_inputs(inputs)
    if not dynamic or not batch.carriers:
        return Traced(_export(model, static_inputs(inputs)), ())
    try:
        program = _export(model, batch)
    except Exception as error:  # noqa: BLE001 - export raises every kind of error; the second try names what is left
        program = _export(model, static_inputs(inputs))
        return Traced(program, (f"the batch size is fixed: {_first_line(error)}",))
    if not _is_dynamic(program):
        program = _export(model, static_inputs(inputs))
        return Traced(program, ("the batch size is fixed: the model computes with it as a number",))
    return Traced(program, ())


def _export(model: nn.Module, batch: BatchInputs) -> ExportedProgram:
    args, kwargs = batch.inputs.args, batch.inputs.kwargs
    with preserved(model), one_batch(model, batch), _quiet():
        try:
            return torch.export.export(model, args, kwargs, strict=False, dynamic_shapes=batch.shapes())
        except Exception as error:
            raise capture_failure(model, error) from error


def _is_dynamic(program: ExportedProgram) -> bool:
    return bool(program.range_constraints)


def _first_line(error: Exception) -> str:
    return str(error.__cause__ or error).strip().partition("\n")[0][:200]


def _check_signature(model: nn.Module, inputs: Inputs) -> None:
    try:
        inspect.signature(model.forward).bind(*inputs.args, **inputs.kwargs)
    except TypeError as error:
        raise InputError(
            f"{type(model).__name__}.forward does not take the example inputs: {error}",
            hint="a tuple holds positional arguments, a dict holds keyword arguments",
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what third parties warn of while a model is traced, which its user cannot do anything about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        yield
