"""The form of call that a graph was captured for: its arguments by name, and what each of them may be."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node, Proxy
from torch.fx import _pytree as fx_pytree
from torch.utils import _pytree as pytree

from fxcompress.errors import InputError
from fxcompress.graph.types import dtype_text
from fxcompress.text import listing, suggestion

Constant = bool | int | float | str | None


@dataclass(frozen=True)
class Parameter:
    """A parameter of the `forward` that was captured.

    Attributes:
        name: as in the signature.
        keyword_only: whether it has no position.
        optional: whether it has a default.
        default: the default where it is a plain constant.
    """

    name: str
    keyword_only: bool = False
    optional: bool = False
    default: Constant = None

    def leaves_out(self, value: Any) -> bool:
        """Whether to pass `value` is the same as to leave the argument out."""
        return self.optional and is_constant(value) and _same_constant(value, self.default)


@dataclass(frozen=True)
class BatchSizes:
    """The batch sizes that a graph holds for, where it does not hold for all: multiples within bounds."""

    minimum: int = 0
    maximum: int | None = None
    multiple_of: int = 1

    def __contains__(self, size: int) -> bool:
        within = size >= self.minimum and (self.maximum is None or size <= self.maximum)
        return within and size % self.multiple_of == 0

    def __str__(self) -> str:
        words = [f"multiples of {self.multiple_of}"] if self.multiple_of > 1 else []
        words += [f"{self.minimum} or more"] if self.minimum else []
        words += [] if self.maximum is None else [f"{self.maximum} or less"]
        return ", ".join(words) or "any"


def parameters_of(forward: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Return the named parameters of `forward`; those behind `*args` have no position."""
    found = []
    for parameter in inspect.signature(forward).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        optional = parameter.default is not parameter.empty and is_constant(parameter.default)
        default = parameter.default if optional else None
        found.append(Parameter(parameter.name, parameter.kind is parameter.KEYWORD_ONLY, optional, default))
    return tuple(found)


def is_constant(value: Any) -> bool:
    """Whether `value` is a plain constant, which export bakes into a graph."""
    return value is None or isinstance(value, bool | int | float | str)


def _same_constant(one: Any, other: Any) -> bool:
    return (one is None) == (other is None) and (one == other or (one != one and other != other))


class CallForm:
    """Checks the arguments of a call against the inputs of a graph, and brings them into the form it was captured in."""

    def __init__(
        self, graph: Graph, parameters: Sequence[Parameter] = (), batch_sizes: BatchSizes | None = None
    ) -> None:
        self.inputs = [Input(node) for node in graph.find_nodes(op="placeholder")]
        self.batch_sizes = batch_sizes
        self.parameters = {parameter.name: parameter for parameter in parameters}
        info = getattr(graph._codegen, "pytree_info", None)
        self.spec = info.in_spec if info is not None and _of_arguments(info.in_spec) else None
        self.names: list[str] = list(info.orig_args) if self.spec else []
        self.keywords: list[str] = list(self.spec.child(1).context) if self.spec else []
        self.count = len(self.names) - len(self.keywords)
        self.flat = self.spec is not None and self.spec.num_leaves == len(self.names) == len(self.inputs)

    def fit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments in the captured form.

        Raises:
            InputError: an argument is missing, unknown, of another structure, size or value than the graph holds for.
        """
        if self.spec is None:
            return args, kwargs
        if len(args) != self.count or kwargs.keys() != set(self.keywords):
            args, kwargs = self._bound(args, kwargs)
        symbols: dict[str, tuple[int, str]] = {}
        for held, value in zip(self.inputs, self._leaves(args, kwargs), strict=True):
            held.check(value, symbols)
        if self.batch_sizes is not None and symbols:
            size, name = next(iter(symbols.values()))
            if size not in self.batch_sizes:
                raise InputError(
                    f"input {name!r} has a batch of {size}, the graph holds for batches of: {self.batch_sizes}",
                    hint="the model chooses its way by the batch size; capture it once more with such a batch",
                )
        return args, kwargs

    def _leaves(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sequence[Any]:
        if self.flat:
            return [*args, *(kwargs[name] for name in self.keywords)]
        try:
            leaves = fx_pytree.tree_flatten_spec((args, kwargs), self.spec)  # type: ignore[arg-type]
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise self._other_structure() from error
        if len(leaves) != len(self.inputs) or pytree.tree_structure((args, kwargs)).num_leaves != len(leaves):
            raise self._other_structure()
        return leaves

    def _other_structure(self) -> InputError:
        names = listing([held.name for held in self.inputs])
        return InputError(
            f"the inputs are nested in another way than those that were captured: {names}",
            hint="give as many tensors, in the same lists and dictionaries",
        )

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments by the names that were captured; defaults may be there or left out."""
        given = self._named(args, kwargs)
        for name in given.keys() - set(self.names):
            if name not in self.parameters:
                raise InputError(f"there is no input {name!r}", hint=suggestion(name, self.names))
            if not self.parameters[name].leaves_out(given[name]):
                raise InputError(
                    f"input {name!r} was not given when the model was captured", hint="capture it with that input"
                )
        constants = {held.name: held.value for held in self.inputs if held.constant} if self.flat else {}
        for name in self.names:
            known = self.parameters.get(name)
            if name not in given and known is not None and name in constants and known.leaves_out(constants[name]):
                given[name] = constants[name]
            if name not in given:
                raise InputError(f"input {name!r} is missing", hint=f"the inputs are: {listing(self.names)}")
        return tuple(given[name] for name in self.names[: self.count]), {name: given[name] for name in self.keywords}

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments by name; the captured positional ones have their names even behind `*args`."""
        positional = [name for name, known in self.parameters.items() if not known.keyword_only]
        names = positional if len(positional) >= self.count else self.names[: self.count]
        if len(args) > len(names):
            raise InputError(
                f"{len(args)} positional inputs were given, {len(names)} can be", hint=f"they are: {listing(names)}"
            )
        given = dict(zip(names, args, strict=False))
        if twice := given.keys() & kwargs.keys():
            raise InputError(f"input {min(twice)!r} was given by position and by name")
        return {**given, **kwargs}


def _of_arguments(spec: pytree.TreeSpec) -> bool:
    """Whether `spec` is the one of a pair: positional arguments, keyword arguments."""
    return bool(
        spec.type is tuple and spec.num_children == 2 and spec.child(0).type is tuple and spec.child(1).type is dict
    )


class Input:
    """What one placeholder of a graph takes, read off its fake value."""

    def __init__(self, node: Node) -> None:
        self.name = str(node.target)
        self.known = "val" in node.meta
        self.value = node.meta.get("val")
        self.constant = self.known and is_constant(self.value)
        sizes = self.value.shape if isinstance(self.value, torch.Tensor) else ()
        # A size is a number, or the name of a symbol; one that is computed from symbols (None) is not checked.
        self.sizes = [size if isinstance(size, int) else _symbol(size) for size in sizes]

    def check(self, value: Any, symbols: dict[str, tuple[int, str]]) -> None:
        """Raise an InputError where `value` does not fit; `symbols` collects sizes and the input that gave them."""
        if isinstance(self.value, torch.Tensor):
            self._check_tensor(value, symbols)
        elif self.constant and not (is_constant(value) and _same_constant(value, self.value)):
            raise InputError(
                f"input {self.name!r} is {_said(value)}, the model was captured with {self.value!r}, which is part of the graph",
                hint=f"capture the model once more with the other value, or give {self.name!r} as a tensor",
            )

    def _check_tensor(self, value: Any, symbols: dict[str, tuple[int, str]]) -> None:
        if not isinstance(value, torch.Tensor):
            raise InputError(f"input {self.name!r} is {_said(value)}, the model was captured with a tensor {self}")
        if value.dim() != len(self.sizes):
            raise self._wrong(value, "")
        for given, wanted in zip(value.shape, self.sizes, strict=True):
            if not isinstance(given, int) or wanted is None:
                continue
            if isinstance(wanted, int):
                if given != wanted:
                    raise self._wrong(value, "")
            elif symbols.setdefault(wanted, (given, self.name))[0] != given:
                size, name = symbols[wanted]
                raise self._wrong(value, f", where {wanted!r} is {size} after input {name!r}")

    def _wrong(self, value: torch.Tensor, where: str) -> InputError:
        given = ", ".join(str(size) for size in value.shape)
        dynamic = any(not isinstance(size, int) for size in self.sizes)
        hint = "only the batch size may differ" if dynamic else "capture the model once more with inputs of that shape"
        return InputError(
            f"input {self.name!r} has shape [{given}], the model was captured for {self}{where}", hint=hint
        )

    def __str__(self) -> str:
        assert isinstance(self.value, torch.Tensor)
        return f"{dtype_text(self.value.dtype)}[{', '.join('?' if size is None else str(size) for size in self.sizes)}]"


def _symbol(size: torch.SymInt) -> str | None:
    expression = size.node.expr
    return str(expression) if expression.is_symbol else None


def _said(value: Any) -> str:
    return repr(value) if is_constant(value) else f"a {type(value).__name__}"


def fit_inputs(module: GraphModule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A forward hook that brings arguments into the captured form; it steps aside where a tracer is at work."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return None
    if any(isinstance(value, Proxy) for value in (*args, *kwargs.values())):
        return None
    return module.call_form().fit(args, kwargs)  # type: ignore[operator]
