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
    return {"kind": "class", "class": _class_name(spec.type), "keys": _class_keys(spec), "parts": parts}


def _key(key: Any) -> Any:
    if type(key) not in (str, int, bool) or (isinstance(key, int) and abs(key) >= 2**63):
        raise ArtifactError(f"the key {short(key)} of a dictionary among the inputs or outputs is no string or number")
    return key


def _class_name(type_: type) -> str:
    entry = pytree.SUPPORTED_SERIALIZED_TYPES.get(type_)
    name = entry.serialized_type_name if entry is not None else ""
    # Nobody gave it a name to be found by: the name of the class then only says what it was.
    return names.as_label(name if isinstance(name, str) and name else f"{type_.__module__}.{type_.__qualname__}")


def _class_keys(spec: TreeSpec) -> list[Any]:
    """Return the names of the parts of a class: its context, where that is such a list, else numbers."""
    context = spec.context
    flat = context[0] if isinstance(context, list | tuple) and len(context) == 2 and isinstance(context[0], list) else context
    if isinstance(flat, list | tuple) and len(flat) == spec.num_children and all(type(key) is str for key in flat):
        return list(flat)
    fields = getattr(spec.type, "_fields", None)
    return list(fields if fields is not None else range(spec.num_children))


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
        names.identifier(checked(key, str, "a keyword"), "the keyword")
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
    fields = record(value, "a part of the signature", {"kind": str, "parts": list}, {"keys": list, "class": str})
    parts = [decode(part, note, depth + 1) for part in fields["parts"]]
    kind = fields["kind"]
    if kind in _SEQUENCES and set(fields) == {"kind", "parts"}:
        return TreeSpec(_SEQUENCES[kind], None, parts)
    keys = _keys(fields, len(parts))
    if kind in _MAPPINGS and "class" not in fields:
        return TreeSpec(_MAPPINGS[kind], keys, parts)
    if kind != "class" or "class" not in fields:
        raise ArtifactError(f"a part of the signature is of an unknown kind {short(kind)}")
    return _class_spec(names.label(fields["class"], "the class"), keys, parts, note)


def _keys(fields: dict[str, Any], parts: int) -> list[Any]:
    keys = checked(fields.get("keys"), list, "the keys of a part of the signature")
    if len(keys) != parts or not all(type(key) in (str, int, bool) for key in keys) or len(set(keys)) != len(keys):
        raise ArtifactError("the keys of a part of the signature are no plain, distinct names of its parts")
    return keys


def _class_spec(name: str, keys: list[Any], parts: list[TreeSpec], note: Callable[[str], None]) -> TreeSpec:
    """Return a spec of the class registered under `name`, if it is no more than a dataclass of fields with these names.

    The class is looked up among those that the running program has registered with PyTorch: nothing is imported.
    """
    found = pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE.get(name)
    if found is not None and dataclasses.is_dataclass(found):
        fields = {field.name for field in dataclasses.fields(found) if field.init}
        if fields >= set(keys):
            return TreeSpec(found, keys if issubclass(found, dict) else [keys, []], parts)
    why = "is not imported" if found is None else "is no plain dataclass"
    note(f"{name} {why}: a dictionary stands in for it; import it before loading to get it back")
    return TreeSpec(dict, keys, parts)
