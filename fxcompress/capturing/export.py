"""Traces a model with `torch.export`, the batch dynamic where the model allows it."""

from __future__ import annotations

import inspect
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.export import ExportedProgram

from fxcompress.capturing.batch import BatchInputs, batch_inputs, one_batch, static_inputs, takes_any_size
from fxcompress.capturing.failures import capture_failure
from fxcompress.capturing.guards import UnevenBatchSizes, batch_sizes
from fxcompress.capturing.inputs import Inputs
from fxcompress.capturing.preserve import preserved
from fxcompress.capturing.training import own_gradients
from fxcompress.errors import CaptureError, InputError
from fxcompress.graph.parameters import BatchSizes


@dataclass(frozen=True)
class Traced:
    """What export gave, and what a report should say of it.

    Attributes:
        program: the traced graph, in training IR.
        notes: what limits the graph, sentences for a report and a warning.
        own_gradients: classes whose own backward the graph lacks.
        batch_sizes: the batch sizes that the graph holds for, None for all.
        shares_memory: whether the fake values of its nodes share memory as the real ones do; loaded ones do not.
    """

    program: ExportedProgram
    notes: tuple[str, ...] = ()
    batch_sizes: BatchSizes | None = None
    shares_memory: bool = True
    own_gradients: tuple[str, ...] = ()


def export_model(model: nn.Module, inputs: Inputs, dynamic: bool) -> Traced:
    """Trace `model` in evaluation mode; try a dynamic batch first where `dynamic`, then fixed sizes.

    Raises:
        InputError: the inputs do not fit the signature of the model.
        CaptureError: `torch.export` does not take the model.
    """
    _check_signature(model, inputs)
    with own_gradients() as classes:
        traced = _export_any(model, inputs, dynamic)
    return replace(traced, own_gradients=tuple(classes))


def _export_any(model: nn.Module, inputs: Inputs, dynamic: bool) -> Traced:
    reason = None
    if dynamic:
        try:
            return _export_dynamic(model, batch_inputs(inputs))
        except _StaticBatch as obstacle:
            reason = str(obstacle).replace("\n  ", " ")
    program = _export(model, static_inputs(inputs))
    return Traced(program, () if reason is None else (f"the batch size is fixed: {reason}",))


class _StaticBatch(Exception):
    """Why the batch cannot be dynamic."""


def _export_dynamic(model: nn.Module, batch: BatchInputs) -> Traced:
    if not batch.carriers:
        raise _StaticBatch("no input is a tensor with a dimension")
    try:
        program = _export(model, batch)
        sizes = batch_sizes(program)
    except CaptureError as error:
        raise _StaticBatch(error.message) from error
    except UnevenBatchSizes:
        raise _StaticBatch("the model chooses its way by the batch size") from None
    if not takes_any_size(program.graph):
        raise _StaticBatch("the model computes with it as a number")
    if sizes is None:
        return Traced(program)
    return Traced(program, (f"the model chooses its way by the batch size; the graph holds for: {sizes}",), sizes)


def _export(model: nn.Module, batch: BatchInputs) -> ExportedProgram:
    args, kwargs = batch.inputs.args, batch.inputs.kwargs
    shapes = batch.shapes(model)
    with preserved(model), one_batch(model, batch), _quiet():
        try:
            return torch.export.export(model, args, kwargs, strict=False, dynamic_shapes=shapes)
        except Exception as error:
            raise capture_failure(model, error) from error


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
    """Hold back what torch says of its own workings while it traces: the user can do nothing about it.

    Held back are warnings of deprecated calls inside of torch and of attributes that are put back afterwards, log
    records of the shape environment, and the partial graph that a failed export prints.
    """
    printed = io.StringIO()
    loggers = [logging.getLogger(name) for name in ("torch.fx.experimental.symbolic_shapes", "torch.export")]
    for logger in loggers:
        logger.addFilter(_no_warning)
    try:
        with warnings.catch_warnings(), redirect_stderr(printed):
            for category in (FutureWarning, DeprecationWarning):
                warnings.filterwarnings("ignore", category=category, module=r"torch(\.|$)")
            warnings.filterwarnings("ignore", "The tensor attributes? .* assigned during export", UserWarning)
            yield
        sys.stderr.write(printed.getvalue())
    finally:
        for logger in loggers:
            logger.removeFilter(_no_warning)


def _no_warning(record: logging.LogRecord) -> bool:
    return record.levelno != logging.WARNING
