"""The form of call that a graph was captured for: its arguments by name, and what each of them may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Proxy
from torch.fx import _pytree as fx_pytree
from torch.utils import _pytree as pytree

from fxcompress.errors import InputError
from fxcompress.graph.input_check import Input
from fxcompress.graph.parameters import BatchSizes, Parameter
from fxcompress.graph.types import symbol_names
from fxcompress.text import listing, suggestion


class CallForm:
    """Checks the arguments of a call against the inputs of a graph, and brings them into the captured form."""

    def __init__(
        self, graph: Graph, parameters: Sequence[Parameter] = (), batch_sizes: BatchSizes | None = None
    ) -> None:
        symbols = symbol_names(graph)
        self.inputs = [Input(node, symbols) for node in graph.find_nodes(op="placeholder")]
        self.batch_sizes = batch_sizes
        self.parameters = {parameter.name: parameter for parameter in parameters}
        info: Any = getattr(graph._codegen, "pytree_info", None)
        taken = info is not None and _of_arguments(info.in_spec)
        self.spec: Any = info.in_spec if taken else None
        self.names: list[str] = list(info.orig_args) if taken else []
        self.keywords: list[str] = list(info.in_spec.child(1).context) if taken else []
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
            leaves = fx_pytree.tree_flatten_spec((args, kwargs), self.spec)
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
                    f"input {name!r} was left to its default when the model was captured",
                    hint="capture the model once more with that input",
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


def fit_inputs(module: GraphModule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A forward hook that brings arguments into the captured form; it steps aside where a tracer is at work."""
    if torch.compiler.is_compiling() or torch._C._is_tracing():
        return None
    if any(isinstance(value, Proxy) for value in (*args, *kwargs.values())):
        return None
    return module.call_form().fit(args, kwargs)  # type: ignore[operator]
