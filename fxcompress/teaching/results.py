"""The result of a module: its tensors by name, and further ones beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.graph import _PyTreeCodeGen
from torch.utils import _pytree as pytree

from fxcompress.graph.module import CapturedModule, copy_graph

OUTPUT = "output"


def result_nodes(module: GraphModule) -> dict[str, Node]:
    """Return the nodes that give the tensors of the result, by their names; see `named_results`."""
    spec, value = _result(module)
    leaves = value if spec is None else pytree.tree_unflatten(pytree.tree_leaves(value, is_leaf=_is_node), spec)
    named = _named(leaves, lambda leaf: isinstance(leaf, Node))
    return {name: node for name, node in named.items() if isinstance(node.meta.get("val"), torch.Tensor)}


def named_results(result: Any) -> dict[str, torch.Tensor]:
    """Return the tensors in what a module gave: `output` where it is one, else `output.logits`, `output.0`, ..."""
    return _named(result, lambda leaf: isinstance(leaf, torch.Tensor))


def add_results(module: GraphModule, values: Mapping[str, Node]) -> None:
    """Let the graph of `module` give `(what it gave, {name: value})`; it has to be compiled anew."""
    end = module.graph.output_node()
    spec, value = _result(module)
    if spec is None:
        end.args = ((value, dict(values)),)
        return
    leaves = pytree.tree_leaves(value, is_leaf=_is_node)
    added = pytree.tree_structure(dict.fromkeys(values, 0))
    codegen: Any = module.graph._codegen
    codegen.pytree_info = codegen.pytree_info._replace(out_spec=pytree.TreeSpec(tuple, None, [spec, added]))
    end.args = ((*leaves, *values.values()),)


def untapped(module: CapturedModule) -> CapturedModule:
    """Return a module that shares the tensors of `module` and gives what it gave before `add_results`."""
    made = CapturedModule(module, copy_graph(module.graph), module._get_name())
    end, (spec, value) = made.graph.output_node(), _result(made)
    if spec is None:
        end.args = (value[0],)
    else:
        codegen: Any = made.graph._codegen
        codegen.pytree_info = codegen.pytree_info._replace(out_spec=spec.child(0))
        end.args = (tuple(value[: spec.child(0).num_leaves]),)
    made.meta["taps"] = ()
    made.graph.eliminate_dead_code()
    made.recompile()
    return made


def added_nodes(module: GraphModule) -> dict[str, Node]:
    """Return the nodes that `add_results` added, by name."""
    spec, value = _result(module)
    if spec is None:
        return dict(value[1])
    names = list(spec.child(1).context)
    return dict(zip(names, value[len(value) - len(names) :], strict=True))


def _result(module: GraphModule) -> tuple[Any, Any]:
    """Return the structure of the result, None where the graph gives it as it is, and what its output node holds."""
    codegen = module.graph._codegen
    info = codegen.pytree_info if isinstance(codegen, _PyTreeCodeGen) else None
    return None if info is None else info.out_spec, module.graph.output_node().args[0]


def _named(nest: Any, wanted: Any) -> dict[str, Any]:
    leaves, _ = pytree.tree_flatten_with_path(nest, is_leaf=_is_node)
    return {".".join([OUTPUT, *map(_word, path)]): leaf for path, leaf in leaves if wanted(leaf)}


def _word(key: Any) -> str:
    """Return one step of the way to a leaf: the key, the index or the name."""
    return str(next(getattr(key, name) for name in ("key", "idx", "name") if hasattr(key, name)))


def _is_node(value: Any) -> bool:
    return isinstance(value, Node)
