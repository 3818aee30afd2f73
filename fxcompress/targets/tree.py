"""The structure of inputs and outputs (pytree specs) as JSON, and back, without importing what a file names."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from torch.fx import Graph
from torch.fx.graph import CodeGen, _PyTreeCodeGen, _PyTreeInfo
from torch.utils import _pytree as pytree
from torch.utils._pytree import TreeSpec

from fxcompress.errors import ArtifactError
from fxcompress.targets import names
from fxcompress.targets.json_text import checked, record, short, strings, unique

MAX_NESTING = 20
_SEQUENCES = {"tuple": tuple, "list": list}
_MAPPINGS = {"dict": dict, "ordered_dict": OrderedDict}


def encode_signature(graph: Graph) -> Any:
    """Return how `graph` takes its inputs and gives its outputs as JSON, None for a graph of flat arguments."""
    codegen = graph._codegen
    if type(codegen) is CodeGen:
        return None
    if not isinstance(codegen, _PyTreeCodeGen):
        raise ArtifactError(
            f"the graph writes its source by a {type(codegen).__name__}, which an artifact does not hold",
            hint="capture the module again: fxc.capture(module, inputs)",
        )
    info = codegen.pytree_info
    return {
        "arguments": list(info.orig_args),
        "inputs": encode(info.in_spec),
        "outputs": None if info.out_spec is None else encode(info.out_spec),
    }


def encode(spec: TreeSpec) -> Any:
    """Return a spec as JSON: `"*"` for a leaf, else an object with its kind and its parts."""
    if spec.is_leaf():
        return "*"
    parts = [encode(child) for child in spec.children()]
    for kind, type_ in _SEQUENCES.items():
        if spec.type is type_:
            return {"kind": kind, "parts": parts}
    for kind, type_ in _MAPPINGS.items():
        if spec.type is type_:
            return {"kind": kind, "keys": [_key(key) for key in spec.context], "parts": parts}
    return {"kind": "class", "class": _class_name(spec), **_class_keys(spec), "parts": parts}


def _key(key: Any) -> Any:
    if type(key) not in (str, int, bool) or (isinstance(key, int) and abs(key) >= 2**63):
        raise ArtifactError(f"the key {short(key)} of a dictionary among the inputs or outputs is no string or number")
    return key


def _class_name(spec: TreeSpec) -> str:
    # Named tuples all share one entry of the registry; which one it is stands in the context.
    type_ = spec.context if isinstance(spec.context, type) else spec.type
    entry = pytree.SUPPORTED_SERIALIZED_TYPES.get(type_)
    name = entry.serialized_type_name if entry is not None else ""
    # Nobody gave it a name to be found by: the name of the class then only says what it was.
    return names.as_label(name if isinstance(name, str) and name else f"{type_.__module__}.{type_.__qualname__}")


def _class_keys(spec: TreeSpec) -> dict[str, Any]:
    """Return what the parts of a class are called, where its context says so.

    PyTorch and transformers know two forms: a list of the fields that are set, and such a list with one of those that
    are None beside it.
    """
    context: Any = getattr(spec.context, "_fields", spec.context)
    if _are_names(context, spec.num_children):
        return {"keys": list(context)}
    if isinstance(context, list) and len(context) == 2 and _are_names(context[0], spec.num_children):
        return {"keys": list(context[0]), "absent": list(context[1])} if _are_names(context[1]) else {}
    if isinstance(context, list) and len(context) == 2 and _are_names(context[1], spec.num_children):
        return {"keys": list(context[1])}
    return {}


def _are_names(value: Any, count: int | None = None) -> bool:
    fits = isinstance(value, list | tuple) and all(type(name) is str for name in value)
    return fits and len(set(value)) == len(value) and count in (None, len(value))


def decode_signature(value: Any, graph: Graph, note: Callable[[str], None]) -> None:
    """Give `graph`, whose nodes are complete, the signature that `encode_signature` wrote.

    Args:
        value: JSON.
        graph: its placeholders and its output must agree with the signature.
        note: is told of every class that is not there and for which a dictionary stands in.
    """
    if value is None:
        return
    fields = record(value, "the signature", {"arguments": list, "inputs": object, "outputs": object})
    inputs = decode(fields["inputs"], note)
    outputs = None if fields["outputs"] is None else decode(fields["outputs"], note)
    arguments = [names.identifier(name, "an argument") for name in strings(fields["arguments"], "the arguments")]
    unique(arguments, "the argument")
    placeholders = len(graph.find_nodes(op="placeholder"))
    if inputs.num_leaves != placeholders:
        raise ArtifactError(f"the signature has {inputs.num_leaves} inputs, the graph {placeholders}")
    _check_keywords(inputs, arguments)
    _check_outputs(outputs, graph)
    graph.set_codegen(_PyTreeCodeGen(_PyTreeInfo(arguments, inputs, outputs)))


def _check_keywords(inputs: TreeSpec, arguments: list[str]) -> None:
    children = inputs.children()
    if inputs.type is not tuple or [child.type for child in children] != [tuple, dict]:
        raise ArtifactError("the inputs of the signature are no pair of positional and keyword arguments")
    for key in children[1].context:
        names.argument_name(checked(key, str, "a keyword"), "the keyword")
    if len(arguments) != sum(child.num_children for child in children):
        raise ArtifactError(f"the signature names {len(arguments)} arguments and describes another number of them")


def _check_outputs(outputs: TreeSpec | None, graph: Graph) -> None:
    result = graph.output_node().args[0]
    if outputs is None:
        return
    leaves = len(result) if isinstance(result, tuple | list) else -1
    if outputs.num_leaves != leaves:
        raise ArtifactError(f"the signature has {outputs.num_leaves} outputs, the graph {leaves}")


def decode(value: Any, note: Callable[[str], None], depth: int = 0) -> TreeSpec:
    """Return the spec that `encode` wrote."""
    if value == "*":
        return pytree.treespec_leaf()
    if depth > MAX_NESTING:
        raise ArtifactError(f"the signature nests deeper than {MAX_NESTING} levels")
    fields = record(value, "a part of the signature", {"kind": str, "parts": list}, _PART)
    parts = [decode(part, note, depth + 1) for part in fields["parts"]]
    kind, has = fields["kind"], set(fields) - {"kind", "parts"}
    if kind in _SEQUENCES and not has:
        return TreeSpec(_SEQUENCES[kind], None, parts)
    if kind in _MAPPINGS and has == {"keys"}:
        return TreeSpec(_MAPPINGS[kind], _keys(fields["keys"], len(parts)), parts)
    if kind == "class" and "class" in has:
        return _class_spec(fields, parts, note)
    raise ArtifactError(f"a part of the signature is of an unknown kind {short(kind)}")


_PART: dict[str, type] = {"keys": list, "class": str, "absent": list}


def _keys(keys: list[Any], parts: int) -> list[Any]:
    if len(keys) != parts or not all(type(key) in (str, int, bool) for key in keys) or len(set(keys)) != len(keys):
        raise ArtifactError("the keys of a part of the signature are no plain, distinct names of its parts")
    return keys


def _has_fields(type_: type, wanted: set[str]) -> bool:
    fields = dataclasses.fields(type_) if dataclasses.is_dataclass(type_) else ()
    return wanted <= {field.name for field in fields if field.init}


def _class_spec(fields: dict[str, Any], parts: list[TreeSpec], note: Callable[[str], None]) -> TreeSpec:
    """Return a spec of the class registered under a name, if it is no more than a dataclass with the fields named.

    The class is looked up among those that the running program has registered with PyTorch: nothing is imported.
    """
    name = names.label(fields["class"], "the class")
    keys = None if "keys" not in fields else _keys(strings(fields["keys"], "the keys"), len(parts))
    absent = strings(fields.get("absent", []), "the keys")
    found = pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE.get(name)
    if found is not None and keys is not None and _has_fields(found, {*keys, *absent}):
        return TreeSpec(found, [keys, absent] if "absent" in fields else keys, parts)
    why = "is not imported here" if found is None else "is no plain dataclass"
    stands = "list" if keys is None else "dictionary"
    note(f"{name} {why}: a {stands} stands in for it" + ("" if found else "; import it before loading to get it back"))
    return TreeSpec(list, None, parts) if keys is None else TreeSpec(dict, keys, parts)
