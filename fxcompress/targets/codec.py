"""A graph as JSON, and back. Nothing of the file gets into a graph but what is checked here."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Graph, Node

from fxcompress.errors import ArtifactError
from fxcompress.graph.tensors import named_tensors
from fxcompress.targets import arguments, names
from fxcompress.targets.allow_list import function_text, resolve
from fxcompress.targets.json_text import checked, record, short
from fxcompress.targets.schema import check_call

MAX_NODES = 250_000
MAX_SCOPES = 100_000
_OPS = ("placeholder", "get_attr", "call_function", "output")


def encode_graph(graph: Graph, extra: frozenset[str]) -> dict[str, Any]:
    """Return the nodes of `graph` as JSON, with the module paths they come from.

    Raises:
        ArtifactError: something that an artifact cannot hold; the node is named.
    """
    scopes: dict[str, int] = {}
    table: list[Any] = []
    nodes = []
    for node in graph.nodes:
        try:
            fields = _encode_node(node, extra)
        except ArtifactError as error:
            raise ArtifactError(f"node %{node}: {error.message}", hint=error.hint) from None
        stack = _encode_scope(node)
        if stack:
            if repr(stack) not in scopes:
                scopes[repr(stack)] = len(table)
                table.append(stack)
            fields["scope"] = scopes[repr(stack)]
        nodes.append(fields)
    return {"scopes": table, "nodes": nodes}


def _encode_node(node: Node, extra: frozenset[str]) -> dict[str, Any]:
    if node.op not in _OPS:
        hint = "capture the module with fxc.capture, which leaves calls of functions only"
        raise ArtifactError(f"it is a {node.op} of {short(node.target)}, which an artifact does not hold", hint=hint)
    fields: dict[str, Any] = {"name": names.identifier(node.name, "the name"), "op": node.op}
    if node.op == "call_function":
        fields["target"] = function_text(node.target, extra)
        fields["args"] = [arguments.encode(value, _node_name) for value in node.args]
        if node.kwargs:
            fields["kwargs"] = {name: arguments.encode(value, _node_name) for name, value in node.kwargs.items()}
    elif node.op == "output":
        fields["args"] = [arguments.encode(value, _node_name) for value in node.args]
    else:
        fields["target"] = str(node.target)
        if node.args or node.kwargs:
            raise ArtifactError("it has a default value, which an artifact does not hold", hint="remove the default")
    for key, kind in _META.items():
        if node.meta.get(key):
            value = node.meta[key]
            fields[key] = _encode_origin(value) if kind is object else bool(value)
    return fields


_META: dict[str, type] = {"origin": object, "always_training": bool}


def _node_name(value: Any) -> Any:
    if isinstance(value, Node):
        return {"node": value.name}
    hint = "register the tensor: fxcompress.graph.nodes.add_tensor gives a node for it"
    raise ArtifactError("a tensor stands among its arguments instead of a node", hint=hint)


def _encode_origin(value: Any) -> Any:
    if isinstance(value, str):
        return names.as_label(value)
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [names.as_label(str(item)) for item in items]
    return names.as_label(str(value))


def _encode_scope(node: Node) -> list[list[str]]:
    stack = node.meta.get("nn_module_stack") or {}
    return [
        [names.as_label(str(key)), names.as_label(str(path)), names.as_label(_class_text(type_))]
        for key, (path, type_) in stack.items()
    ]


def _class_text(type_: Any) -> str:
    return f"{type_.__module__}.{type_.__qualname__}" if isinstance(type_, type) else str(type_)


def decode_graph(value: Any, holder: torch.nn.Module, extra: frozenset[str]) -> Graph:
    """Return the graph that `encode_graph` wrote.

    Args:
        value: JSON.
        holder: the module whose tensors the graph reads.
        extra: names of further functions that the graph may call.

    Raises:
        ArtifactError: anything else; the node is named.
    """
    fields = record(value, "the graph", {"scopes": list, "nodes": list})
    if len(fields["nodes"]) > MAX_NODES or len(fields["scopes"]) > MAX_SCOPES:
        raise ArtifactError(f"the graph has more than {MAX_NODES:,} nodes")
    scopes = [_decode_scope(scope) for scope in fields["scopes"]]
    reader = _Reader({path for path, _ in named_tensors(holder)}, scopes, extra)
    for node in fields["nodes"]:
        reader.add(node)
    if reader.last_op != "output":
        raise ArtifactError("the graph does not end in an output")
    return reader.graph


def _decode_scope(value: Any) -> dict[str, tuple[str, str]]:
    made: dict[str, tuple[str, str]] = {}
    for entry in checked(value, list, "a module path"):
        if not isinstance(entry, list) or len(entry) != 3 or not all(type(word) is str for word in entry):
            raise ArtifactError("an entry of a module path is no list of three strings")
        key, path, type_ = (names.label(word, "a module path") for word in entry)
        made[key] = (path, type_)
    return made


class _Reader:
    """Builds a graph node by node; arguments can only name nodes that stand before.

    Args:
        paths: of the tensors that `get_attr` nodes may read.
        scopes: the module paths, shared by the nodes that come from them.
        extra: names of further functions that the graph may call.
    """

    def __init__(self, paths: set[str], scopes: list[dict[str, tuple[str, str]]], extra: frozenset[str]) -> None:
        self.graph = Graph()
        self.last_op = ""
        self._nodes: dict[str, Node] = {}
        self._paths = paths
        self._scopes = scopes
        self._extra = extra

    def add(self, value: Any) -> None:
        fields = record(value, "a node", {"name": str, "op": str}, _OPTIONAL_FIELDS)
        name = names.identifier(fields["name"], "the name of a node")
        try:
            self._add(name, fields)
        except ArtifactError as error:
            raise ArtifactError(f"node %{name}: {error.message}", hint=error.hint) from None

    def _add(self, name: str, fields: dict[str, Any]) -> None:
        op = fields["op"]
        if op not in _OPS or self.last_op == "output":
            raise ArtifactError(f"an operation {short(op)} has no place here")
        if name in self._nodes:
            raise ArtifactError("the name is given twice")
        needed, possible = (
            _FIELDS[op],
            _FIELDS[op] | set(_META) | {"scope"} | ({"kwargs"} if op == "call_function" else set()),
        )
        if not needed <= set(fields) <= possible:
            raise ArtifactError(f"a {op} does not have the fields {short(sorted(fields))}")
        node = self._create(op, name, fields)
        if node.name != name:
            raise ArtifactError("FX keeps this name to itself")
        self._nodes[name] = node
        self.last_op = op
        self._describe(node, fields)

    def _create(self, op: str, name: str, fields: dict[str, Any]) -> Node:
        args = tuple(self._argument(value) for value in fields.get("args", []))
        if op == "call_function":
            target = resolve(fields["target"], self._extra)
            given = fields.get("kwargs", {})
            kwargs = {names.argument_name(key, "a keyword"): self._argument(item) for key, item in given.items()}
            check_call(target, args, kwargs)
            return self.graph.create_node(op, target, args, kwargs, name)
        if op == "output":
            if len(args) != 1:
                raise ArtifactError(f"an output has one argument, not {len(args)}")
            return self.graph.create_node(op, "output", args, {}, name)
        return self.graph.create_node(op, self._target(op, name, fields["target"]), (), {}, name)

    def _target(self, op: str, name: str, target: str) -> str:
        if op == "placeholder":
            if self.last_op == "call_function":
                raise ArtifactError("an input stands after a call")
            return names.identifier(target, "the input")
        if target not in self._paths:
            raise ArtifactError(f"it reads {short(target)}, which is no tensor of the file")
        return target

    def _argument(self, value: Any) -> Any:
        return arguments.decode(value, {"node": self._node})

    def _node(self, name: str) -> Node:
        if name not in self._nodes:
            raise ArtifactError(f"it reads %{name[:80]}, which does not stand before it")
        return self._nodes[name]

    def _describe(self, node: Node, fields: dict[str, Any]) -> None:
        if "scope" in fields:
            if not 0 <= fields["scope"] < len(self._scopes):
                raise ArtifactError(f"its module path {fields['scope']} is not there")
            node.meta["nn_module_stack"] = self._scopes[fields["scope"]]
        if "always_training" in fields:
            node.meta["always_training"] = fields["always_training"]
        if "origin" in fields:
            node.meta["origin"] = _decode_origin(fields["origin"])


def _decode_origin(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(names.label(checked(item, str, "an origin"), "an origin") for item in value)
    return names.label(checked(value, str, "an origin"), "an origin")


_FIELDS: dict[str, set[str]] = {
    "placeholder": {"name", "op", "target"},
    "get_attr": {"name", "op", "target"},
    "call_function": {"name", "op", "target", "args"},
    "output": {"name", "op", "args"},
}
_OPTIONAL_FIELDS: dict[str, type] = {"target": str, "args": list, "kwargs": dict, "scope": int, **_META}
