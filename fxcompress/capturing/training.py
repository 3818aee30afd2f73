"""What a model does in training mode only, and a graph captured in evaluation mode therefore lacks."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.autograd import Function
from torch.fx import Graph
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode

from fxcompress.capturing.inputs import Inputs
from fxcompress.capturing.preserve import preserved
from fxcompress.graph.nodes import argument, calls, scope
from fxcompress.text import listing

# What only asks a tensor for its properties is no step of the computation.
_QUESTIONS = frozenset({"__get__", "size", "dim", "numel", "stride", "is_contiguous", "is_floating_point", "__len__"})


@dataclass(frozen=True)
class Training:
    """What sets training mode apart.

    Attributes:
        notes: sentences for a report on what the graph lacks.
        attention: dropout probability in training of each call of attention, by the path of the calling module.
    """

    notes: tuple[str, ...] = ()
    attention: dict[str, list[float]] = field(default_factory=dict)


def compare_modes(model: nn.Module, inputs: Inputs) -> Training:
    """Run `model` without data in both modes, and compare which functions its modules call.

    Dropout and batch norm have flags in the graph and do not count. Models whose code never asks for the mode are
    not run.
    """
    notes = [note for note in [_averaging(model)] if note is not None]
    if not any(_asks_for_mode(type(module)) for module in model.modules()):
        return Training(tuple(notes))
    try:
        evaluation, training = (_record(model, inputs, mode) for mode in (False, True))
    except Exception as error:  # noqa: BLE001 - the model's own code on tensors without data may raise anything
        notes.append(f"what the model does in training mode only is not known: {type(error).__name__}: {error}"[:300])
        return Training(tuple(notes))
    differing = [path for path in training.calls if training.calls[path] != evaluation.calls.get(path)]
    lacking = [path for path in differing if not any(path.startswith(f"{other}.") for other in differing)]
    if lacking:
        notes.append(f"train() does not bring back what these do in training mode only: {_by_class(model, lacking)}")
    return Training(tuple(notes), training.attention)


def _averaging(model: nn.Module) -> str | None:
    """Return a note on batch norms whose running statistics are averages over all batches."""
    found = [
        path for path, module in model.named_modules() if isinstance(module, _NormBase) and module.momentum is None
    ]
    if not found:
        return None
    return f"train() does not advance the running statistics of batch norms without momentum: {listing(found, 3)}"


@contextmanager
def own_gradients() -> Iterator[dict[str, None]]:
    """Collect the names of the autograd functions, other than those of torch, that are called inside.

    A tracer records the operations of their forward; their backward is not in the graph.
    """
    found: dict[str, None] = {}
    original = vars(Function)["apply"]

    def apply(cls: type[Function], *args: Any, **kwargs: Any) -> Any:
        if not cls.__module__.startswith("torch."):
            found[cls.__name__] = None
        return original.__get__(None, cls)(*args, **kwargs)

    type.__setattr__(Function, "apply", classmethod(apply))
    try:
        yield found
    finally:
        type.__setattr__(Function, "apply", original)


def set_attention_dropout(graph: Graph, attention: dict[str, list[float]]) -> bool:
    """Note at the calls of attention in `graph` the dropout probability that `train()` is to set.

    Returns:
        whether every probability above zero found its call.
    """
    nodes = defaultdict(list)
    for node in calls(graph, torch.ops.aten.scaled_dot_product_attention):
        nodes[scope(node)].append(node)
    complete = True
    for path, probabilities in attention.items():
        if len(nodes[path]) == len(probabilities):
            for node, probability in zip(nodes[path], probabilities, strict=True):
                if probability > 0:
                    node.meta["in_training"] = {"dropout_p": (argument(node, "dropout_p"), probability)}
        else:
            complete = complete and not any(probabilities)
    return complete


def _by_class(model: nn.Module, paths: list[str]) -> str:
    """Return the classes of the modules at `paths`, each with a count and its first path."""
    named = dict(model.named_modules())
    grouped: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        grouped[type(named[path]).__name__].append(path or "the model itself")
    return ", ".join(f"{name} ({_first(places)})" for name, places in grouped.items())


def _first(places: list[str]) -> str:
    return places[0] if len(places) == 1 else f"{places[0]} and {len(places) - 1} more"


def _asks_for_mode(kind: type[nn.Module]) -> bool:
    """Whether code of a module class reads `training`, beside the layers whose flags are in the graph."""
    if kind.__module__.startswith("torch.nn.modules") and not issubclass(kind, nn.MultiheadAttention):
        return False
    functions = [
        inspect.unwrap(member)
        for base in kind.__mro__
        if base is not nn.Module and not base.__module__.startswith("torch.nn.modules")
        for member in vars(base).values()
        if inspect.isfunction(member)
    ]
    return issubclass(kind, nn.MultiheadAttention) or any(_names_training(function.__code__) for function in functions)


def _names_training(code: CodeType) -> bool:
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return "training" in code.co_names or any(_names_training(constant) for constant in inner)


class _Recorder(TorchFunctionMode):
    """Records the functions of torch that are called, by the path of the module that calls them."""

    def __init__(self) -> None:
        super().__init__()
        self.scopes: list[str] = []
        self.calls: dict[str, list[str]] = defaultdict(list)
        self.attention: dict[str, list[float]] = defaultdict(list)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", repr(func))
        path = self.scopes[-1] if self.scopes else ""
        if func is functional.scaled_dot_product_attention:
            self.attention[path].append(float(args[4] if len(args) > 4 else kwargs.get("dropout_p", 0.0)))
        if func is functional.multi_head_attention_forward:
            given = inspect.signature(func).bind(*args, **kwargs).arguments
            probability = float(given["dropout_p"]) if given.get("training", True) else 0.0
            if given.get("need_weights", True):
                name += f" dropout {probability}"
            else:
                self.attention[path].append(probability)
        if name not in _QUESTIONS:
            self.calls[path].append(name)
        try:
            return func(*args, **kwargs)
        except DataDependentOutputException:
            # A tensor without data cannot say yes or no, such as whether a layer is dropped in this step: no.
            if name != "__bool__":
                raise
            return False


def _record(model: nn.Module, inputs: Inputs, training: bool) -> _Recorder:
    """Run `model` in the given mode on tensors without data; return what it called."""
    recorder = _Recorder()
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with preserved(model), _followed(model, recorder.scopes):
        for module in model.modules():
            module.training = training
        given = inputs.map_tensors(fake.from_tensor)
        with fake, recorder:
            given.call(model)
    for path, module in model.named_modules():
        # In training mode a batch norm counts its batches, which changes nothing where it has a momentum.
        if isinstance(module, _NormBase):
            recorder.calls.pop(path, None)
    return recorder


@contextmanager
def _followed(model: nn.Module, scopes: list[str]) -> Iterator[None]:
    """Keep in `scopes` the paths of the modules that are being called."""
    hooks = []
    for path, module in model.named_modules():
        enter = module.register_forward_pre_hook(lambda _module, _args, path=path: scopes.append(path), prepend=True)
        leave = module.register_forward_hook(lambda _module, _args, _output: _left(scopes), always_call=True)
        hooks += [enter, leave]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _left(scopes: list[str]) -> None:
    scopes.pop()
