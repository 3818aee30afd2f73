"""What a graph costs: parameters, bytes and multiply-accumulates, in total, by node and by scope."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

from fxcompress.analysis.contracts import may_contract
from fxcompress.analysis.mac_rules import RULES, rule_for
from fxcompress.analysis.macs import Rule
from fxcompress.analysis.sizes import AT_HINTS, Binding, Call, DataDependentSizeError, binding_of
from fxcompress.capturing.inputs import Inputs
from fxcompress.graph.nodes import scopes
from fxcompress.graph.tensors import named_tensors

# Weights that are quantized are no `nn.Parameter` any more; these dtypes give them away.
WEIGHT_DTYPES = frozenset(
    [torch.int8, torch.uint8, torch.int16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz]
)


@dataclass(frozen=True)
class ScopeCost:
    """The cost of one scope without the scopes inside it.

    A tensor belongs to the scope that its path names; where no call was captured there, to that of its first reader.

    Attributes:
        scope: the module path, `""` for the root.
        kind: the class of the module (`Conv2d`); the op where a pass put it in; `unused` for tensors that nobody reads.
        params: numbers stored as weights, those of a tied tensor in the first scope that holds it.
        bytes: bytes of all its tensors, weights or not.
        macs: multiply-accumulates of its calls.
    """

    scope: str
    kind: str
    params: int
    bytes: int
    macs: int


@dataclass(frozen=True)
class Cost:
    """What a graph costs for inputs of one size.

    Attributes:
        params: numbers stored as weights: parameters, and buffers of a quantized dtype; tied ones once.
        bytes: bytes of every stored tensor, parameter or buffer, each once.
        macs: multiply-accumulates of one call; floating point operations are twice as many.
        by_node: node name -> multiply-accumulates, for every call that has a rule.
        by_scope: one row a scope, in the order of the graph; the columns add up to the totals.
        unknown: node name -> why its multiply-accumulates are not in the totals.
    """

    params: int
    bytes: int
    macs: int
    by_node: Mapping[str, int]
    by_scope: tuple[ScopeCost, ...]
    unknown: Mapping[str, str]


def cost(module: GraphModule, rules: Mapping[str, Rule] = RULES, *, inputs: Inputs | None = None) -> Cost:
    """Return what `module` costs, read off the types of its nodes; nothing is run.

    Args:
        module: a captured graph whose nodes have types (`meta["val"]`).
        rules: qualified name of an op (`aten.linear`) -> function from a `Call` to its multiply-accumulates.

        inputs: the call whose sizes are meant; without it dynamic sizes are those that the graph was captured with,
            among them a batch of at least two.

    Raises:
        FxcompressError: a node has no type.
        InputError: the inputs do not fit the graph.
    """
    by_node, unknown = _macs(module, rules, AT_HINTS if inputs is None else binding_of(module, inputs))
    by_scope = _rows(module, by_node)
    return Cost(
        params=sum(row.params for row in by_scope),
        bytes=sum(row.bytes for row in by_scope),
        macs=sum(by_node.values()),
        by_node=by_node,
        by_scope=by_scope,
        unknown=unknown,
    )


def _macs(module: GraphModule, rules: Mapping[str, Rule], binding: Binding) -> tuple[dict[str, int], dict[str, str]]:
    """Return the multiply-accumulates of every call with a rule, and the calls that should have one."""
    known, unknown = {}, {}
    for node in module.graph.nodes:
        if node.op in ("call_module", "call_method"):
            unknown[node.name] = f"{node.op} {node.target} is no ATen call"
        if node.op != "call_function":
            continue
        rule = rule_for(node, rules)
        try:
            if rule is not None:
                known[node.name] = rule(Call(node, binding))
            elif may_contract(node):
                unknown[node.name] = f"{node.target} has no rule"
        except DataDependentSizeError as error:
            unknown[node.name] = f"{node.target}: {error}"
    return known, unknown


def _rows(module: GraphModule, by_node: Mapping[str, int]) -> tuple[ScopeCost, ...]:
    """Add up the columns of every scope."""
    places = scopes(module.graph)
    kinds = _kinds(places)
    columns: dict[str, Counter[str]] = defaultdict(Counter)
    for node in module.graph.nodes:
        if node.op == "call_function":
            columns[places[node]]["macs"] += by_node.get(node.name, 0)
    readers = _readers(module)
    for path, tensor in stored_tensors(module):
        place = path.rpartition(".")[0]
        if place not in kinds and path in readers:
            place = places[readers[path]]
        kinds.setdefault(place, "unused")
        columns[place]["params"] += tensor.numel() if is_weight(tensor) else 0
        columns[place]["bytes"] += size_in_bytes(tensor)
    names = ("params", "bytes", "macs")
    return tuple(ScopeCost(place, kind, *(columns[place][name] for name in names)) for place, kind in kinds.items())


def _kinds(places: Mapping[Node, str]) -> dict[str, str]:
    """Return for every scope the class of its module; the op of its first call where a pass put that in."""
    found: dict[str, str] = {}
    classes: dict[str, str] = {}
    for node, place in places.items():
        if node.op == "call_function":
            found.setdefault(place, str(getattr(node.target, "__name__", node.target)))
            for path, kind in (node.meta.get("nn_module_stack") or {}).values():
                classes[path] = str(kind if isinstance(kind, str) else kind.__name__).rpartition(".")[2]
    return {place: classes.get(place, op) for place, op in found.items()}


def _readers(module: GraphModule) -> dict[str, Node]:
    """Return for the path of every tensor that is read the call that reads it first."""
    found: dict[str, Node] = {}
    for node in module.graph.nodes:
        for source in node.all_input_nodes:
            if source.op == "get_attr" and node.op == "call_function":
                found.setdefault(str(source.target), node)
    return found


def stored_tensors(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every parameter and buffer of `module` once, under its first path; tied tensors share their memory."""
    seen = set()
    for path, tensor in named_tensors(module):
        place = (tensor.untyped_storage()._cdata, tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
        if place not in seen:
            seen.add(place)
            yield path, tensor


def is_weight(tensor: torch.Tensor) -> bool:
    """Whether a stored tensor counts as parameters: an `nn.Parameter`, or a buffer of a quantized dtype."""
    return isinstance(tensor, torch.nn.Parameter) or tensor.dtype in WEIGHT_DTYPES


def size_in_bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
